-- Fills of the range by order and month, then by symbol, side and month. An order's first month of the range
-- counts it for the tables that are not by month. Sums of numeric are exact.
WITH chosen AS (
    SELECT
        fills.quote, fills.symbol, fills.side, fills.order_id,
        date_trunc('month', to_timestamp(fills.filled_ms / 1000) AT TIME ZONE 'UTC') AS month,
        count(*) AS fills,
        sum(value) AS volume,
        sum(fee_quote) AS fees,
        sum(value) FILTER (WHERE liquidity = 'maker') AS maker_volume,
        sum(fee_quote) FILTER (WHERE liquidity = 'maker') AS maker_fees,
        sum(value) FILTER (WHERE liquidity = 'taker') AS taker_volume,
        sum(fee_quote) FILTER (WHERE liquidity = 'taker') AS taker_fees,
        count(*) FILTER (WHERE fee_quote IS NULL) AS unconverted,
        min(filled_ms) AS first_ms,
        max(filled_ms) AS last_ms
    FROM fills
    WHERE account_id = %(account_id)s
      AND filled_ms >= %(since_ms)s AND filled_ms < %(until_ms)s
      AND (%(symbol)s::text IS NULL OR symbol = %(symbol)s)
    GROUP BY 1, 2, 3, 4, 5
), placed AS (
    SELECT *, month IS NOT DISTINCT FROM min(month) OVER (PARTITION BY symbol, order_id) AS begun FROM chosen
)
SELECT
    quote, symbol, side, coalesce(to_char(month, 'YYYY-MM'), ''), sum(fills)::bigint, count(*),
    count(*) FILTER (WHERE begun), sum(volume), coalesce(sum(fees), 0), coalesce(sum(maker_volume), 0),
    coalesce(sum(maker_fees), 0), coalesce(sum(taker_volume), 0), coalesce(sum(taker_fees), 0),
    sum(unconverted)::bigint, min(first_ms), max(last_ms)
FROM placed
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
