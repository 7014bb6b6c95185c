-- Live values win over recomputed ones; a repetition changes nothing but the values of a revision.
INSERT INTO indicators AS kept (
    exchange_id, symbol, timeframe, open_ms, macdv, signal, histogram, stage, reason,
    seeded, warming, n_eff, span_bars, seed_open_ms, formula, source
)
SELECT %(exchange_id)s, given.*, %(formula)s, %(source)s
FROM unnest(
    %(symbol)s::text[], %(timeframe)s::text[], %(open_ms)s::bigint[], %(macdv)s::float8[], %(signal)s::float8[],
    %(histogram)s::float8[], %(stage)s::text[], %(reason)s::text[], %(seeded)s::boolean[], %(warming)s::boolean[],
    %(n_eff)s::integer[], %(span_bars)s::integer[], %(seed_open_ms)s::bigint[]
) AS given
ON CONFLICT (exchange_id, symbol, timeframe, open_ms) DO UPDATE SET
    macdv = excluded.macdv, signal = excluded.signal, histogram = excluded.histogram, stage = excluded.stage,
    reason = excluded.reason, seeded = excluded.seeded, warming = excluded.warming, n_eff = excluded.n_eff,
    span_bars = excluded.span_bars, seed_open_ms = excluded.seed_open_ms, formula = excluded.formula,
    source = excluded.source, computed_at = now()
WHERE excluded.source = 'live' OR kept.source = 'batch'
