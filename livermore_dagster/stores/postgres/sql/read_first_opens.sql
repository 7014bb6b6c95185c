SELECT symbol, first_open_ms
FROM series
WHERE exchange_id = %(exchange_id)s AND symbol = ANY (%(symbols)s::text[]) AND timeframe = %(timeframe)s
