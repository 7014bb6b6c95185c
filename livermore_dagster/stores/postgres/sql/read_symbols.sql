SELECT symbol, base, quote, trading, alias_of, quote_volume_24h_usd::text, trades_24h, volume_rank, listed_ms, listed,
    price::text, change_24h_pct::text, spread_bps, depth_usd, liquidity_score, liquidity_grade
FROM exchange_symbols
WHERE exchange_id = %(exchange_id)s
ORDER BY volume_rank NULLS LAST, symbol
