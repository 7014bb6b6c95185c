SELECT symbol, base, quote, trading, alias_of, quote_volume_24h_usd::text, trades_24h, volume_rank, listed_ms
FROM exchange_symbols
WHERE exchange_id = %(exchange_id)s
ORDER BY volume_rank NULLS LAST, symbol
