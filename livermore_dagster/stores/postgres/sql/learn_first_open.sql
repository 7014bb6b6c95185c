INSERT INTO series AS held (exchange_id, symbol, timeframe, first_open_ms)
VALUES (%(exchange_id)s, %(symbol)s, %(timeframe)s, %(first_open_ms)s)
ON CONFLICT (exchange_id, symbol, timeframe) DO UPDATE
SET first_open_ms = excluded.first_open_ms, learned_at = now()
WHERE excluded.first_open_ms < held.first_open_ms
