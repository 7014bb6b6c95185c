-- Only where nothing is stored: a live value is never overwritten by a recomputation.
WITH added AS (
    INSERT INTO indicators (
        exchange_id, symbol, timeframe, open_ms, macdv, signal, histogram, stage, reason, seeded, warming, n_eff,
        span_bars, seed_open_ms, formula, source
    )
    SELECT %(exchange_id)s, %(symbol)s, %(timeframe)s, given.*, 'batch'
    FROM
        unnest(
            %(open_ms)s::bigint[], %(macdv)s::float8[], %(signal)s::float8[], %(histogram)s::float8[],
            %(stage)s::text[], %(reason)s::text[], %(seeded)s::boolean[], %(warming)s::boolean[],
            %(n_eff)s::integer[], %(span_bars)s::integer[], %(seed_open_ms)s::bigint[], %(formula)s::smallint[]
        ) AS given
    ON CONFLICT (exchange_id, symbol, timeframe, open_ms) DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM added
