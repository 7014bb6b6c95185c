-- The write rule: higher rank, then later stamp, then more trades, then more volume.
-- Sorted by key, so that two writers lock rows in one order.
WITH written AS (
    INSERT INTO candles AS held (
        exchange_id, symbol, timeframe, open_ms, open, high, low, close, volume, trades, rank, stamp_ms
    )
    SELECT DISTINCT ON (symbol, timeframe, open_ms)
        %(exchange_id)s, symbol, timeframe, open_ms, open, high, low, close, volume, trades, rank, stamp_ms
    FROM incoming_candles
    ORDER BY symbol, timeframe, open_ms, rank DESC, stamp_ms DESC, trades DESC, volume DESC
    ON CONFLICT (exchange_id, symbol, timeframe, open_ms) DO UPDATE
    SET open = excluded.open,
        high = excluded.high,
        low = excluded.low,
        close = excluded.close,
        volume = excluded.volume,
        trades = excluded.trades,
        rank = excluded.rank,
        stamp_ms = excluded.stamp_ms
    WHERE (excluded.rank, excluded.stamp_ms, excluded.trades, excluded.volume)
        > (held.rank, held.stamp_ms, held.trades, held.volume)
    RETURNING (held.xmax = 0) AS inserted, symbol, timeframe, open_ms, open, high, low, close, volume
)
SELECT
    count(*) FILTER (WHERE inserted),
    count(*) FILTER (WHERE NOT inserted),
    -- Read as of the statement's beginning. Sideways, so that only what was there is looked up.
    count(*) FILTER (
        WHERE NOT inserted AND (written.open, written.high, written.low, written.close, written.volume)
            IS DISTINCT FROM (before.open, before.high, before.low, before.close, before.volume)
    )
FROM written
LEFT JOIN LATERAL (
    SELECT open, high, low, close, volume
    FROM candles
    WHERE NOT written.inserted AND exchange_id = %(exchange_id)s AND symbol = written.symbol
        AND timeframe = written.timeframe AND open_ms = written.open_ms
    LIMIT 1
) AS before ON true
