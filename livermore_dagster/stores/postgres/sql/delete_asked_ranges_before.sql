DELETE FROM asked_ranges
WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s AND to_ms <= %(before_ms)s
