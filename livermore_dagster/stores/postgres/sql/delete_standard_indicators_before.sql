DELETE FROM standard_indicators
WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s AND open_ms < %(before_ms)s
