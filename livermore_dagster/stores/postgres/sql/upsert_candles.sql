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
    RETURNING (held.xmax = 0) AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written
