INSERT INTO asked_ranges (exchange_id, symbol, timeframe, from_ms, to_ms, asked_ms)
VALUES (%(exchange_id)s, %(symbol)s, %(timeframe)s, %(from_ms)s, %(to_ms)s, %(asked_ms)s)
ON CONFLICT (exchange_id, symbol, timeframe, from_ms) DO UPDATE
SET to_ms = greatest(asked_ranges.to_ms, excluded.to_ms),
    asked_ms = least(asked_ranges.asked_ms, excluded.asked_ms)
