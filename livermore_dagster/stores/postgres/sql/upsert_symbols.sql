INSERT INTO exchange_symbols (
    exchange_id, symbol, base, quote, trading, alias_of, quote_volume_24h_usd, trades_24h, volume_rank, listed_ms, listed,
    price, change_24h_pct, spread_bps, depth_usd, liquidity_score, liquidity_grade
)
VALUES (
    %(exchange_id)s, %(symbol)s, %(base)s, %(quote)s, %(trading)s, %(alias_of)s,
    %(quote_volume_24h_usd)s::text::numeric, %(trades_24h)s, %(volume_rank)s, %(listed_ms)s, %(listed)s,
    %(price)s::text::numeric, %(change_24h_pct)s::text::numeric, %(spread_bps)s, %(depth_usd)s, %(liquidity_score)s,
    %(liquidity_grade)s
)
ON CONFLICT (exchange_id, symbol) DO UPDATE
SET base = excluded.base,
    quote = excluded.quote,
    trading = excluded.trading,
    alias_of = excluded.alias_of,
    quote_volume_24h_usd = excluded.quote_volume_24h_usd,
    trades_24h = excluded.trades_24h,
    volume_rank = excluded.volume_rank,
    listed_ms = coalesce(excluded.listed_ms, exchange_symbols.listed_ms),
    listed = excluded.listed,
    price = excluded.price,
    change_24h_pct = excluded.change_24h_pct,
    spread_bps = excluded.spread_bps,
    depth_usd = excluded.depth_usd,
    liquidity_score = excluded.liquidity_score,
    liquidity_grade = excluded.liquidity_grade,
    updated_at = now()
