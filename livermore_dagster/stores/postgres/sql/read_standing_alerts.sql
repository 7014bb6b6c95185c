SELECT open_ms, label FROM alert_history
WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s AND withdrawn_ms IS NULL
ORDER BY open_ms DESC
LIMIT 1000
