SELECT
    open_ms, macdv, signal, histogram, stage, reason, seeded, warming, n_eff, span_bars, seed_open_ms, formula,
    source
FROM indicators
WHERE exchange_id = %(exchange_id)s
    AND symbol = %(symbol)s
    AND timeframe = %(timeframe)s
    AND open_ms >= %(from_ms)s
ORDER BY open_ms
