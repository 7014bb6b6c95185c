SELECT open_ms, macdv, signal, histogram, stage, reason, seeded, warming, n_eff, span_bars, seed_open_ms, formula,
    source
FROM (
    SELECT * FROM indicators
    WHERE exchange_id = %(exchange_id)s AND symbol = %(symbol)s AND timeframe = %(timeframe)s
      AND open_ms >= %(start_ms)s AND open_ms < %(end_ms)s
    ORDER BY open_ms DESC
    LIMIT %(limit)s
) AS newest
ORDER BY open_ms
