-- Live values win over recomputed ones; a repetition changes nothing but the values of a revision.
INSERT INTO indicators AS kept (
    exchange_id, symbol, timeframe, open_ms, macdv, signal, histogram, stage, reason,
    seeded, warming, n_eff, span_bars, seed_open_ms, formula, source
)
SELECT %(exchange_id)s, given.*, %(formula)s, %(source)s
FROM json_to_recordset(%(points)s::json) AS given (
    symbol text, timeframe text, open_ms bigint, macdv float8, signal float8, histogram float8, stage text,
    reason text, seeded boolean, warming boolean, n_eff integer, span_bars integer, seed_open_ms bigint
)
ON CONFLICT (exchange_id, symbol, timeframe, open_ms) DO UPDATE SET
    macdv = excluded.macdv, signal = excluded.signal, histogram = excluded.histogram, stage = excluded.stage,
    reason = excluded.reason, seeded = excluded.seeded, warming = excluded.warming, n_eff = excluded.n_eff,
    span_bars = excluded.span_bars, seed_open_ms = excluded.seed_open_ms, formula = excluded.formula,
    source = excluded.source, computed_at = now()
WHERE excluded.source = 'live' OR kept.source = 'batch'
