SELECT from_ms, to_ms, asked_ms
FROM asked_ranges
WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s
ORDER BY from_ms
