WITH changed AS (
    INSERT INTO standard_indicators AS held (
        exchange_id, symbol, timeframe, open_ms, rsi_14, bollinger_upper, bollinger_middle, bollinger_lower,
        adx_14, obv, sma_20, sma_50, ema_9
    )
    SELECT
        %(exchange_id)s, %(symbol)s, %(timeframe)s, given.*
    FROM
        unnest(
            %(open_ms)s::bigint[], %(rsi_14)s::float8[], %(bollinger_upper)s::float8[],
            %(bollinger_middle)s::float8[], %(bollinger_lower)s::float8[], %(adx_14)s::float8[], %(obv)s::float8[],
            %(sma_20)s::float8[], %(sma_50)s::float8[], %(ema_9)s::float8[]
        ) AS given
    ON CONFLICT (exchange_id, symbol, timeframe, open_ms) DO UPDATE SET
        rsi_14 = excluded.rsi_14,
        bollinger_upper = excluded.bollinger_upper,
        bollinger_middle = excluded.bollinger_middle,
        bollinger_lower = excluded.bollinger_lower,
        adx_14 = excluded.adx_14,
        obv = excluded.obv,
        sma_20 = excluded.sma_20,
        sma_50 = excluded.sma_50,
        ema_9 = excluded.ema_9
    WHERE
        (
            held.rsi_14, held.bollinger_upper, held.bollinger_middle, held.bollinger_lower, held.adx_14,
            held.obv, held.sma_20, held.sma_50, held.ema_9
        ) IS DISTINCT FROM (
            excluded.rsi_14, excluded.bollinger_upper, excluded.bollinger_middle, excluded.bollinger_lower,
            excluded.adx_14, excluded.obv, excluded.sma_20, excluded.sma_50, excluded.ema_9
        )
    RETURNING 1
)
SELECT count(*) FROM changed
