INSERT INTO exchange_symbols (
    exchange_id, symbol, base, quote, trading, alias_of, quote_volume_24h_usd, trades_24h, volume_rank, listed_ms
)
VALUES (
    %(exchange_id)s, %(symbol)s, %(base)s, %(quote)s, %(trading)s, %(alias_of)s,
    %(quote_volume_24h_usd)s::text::numeric, %(trades_24h)s, %(volume_rank)s, %(listed_ms)s
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
    updated_at = now()
