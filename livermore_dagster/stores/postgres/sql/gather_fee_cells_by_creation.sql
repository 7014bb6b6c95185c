-- As gather_fee_cells, by the creation of the fills' orders: month and range are its. Without a known order a
-- fill has no month, and belongs to a range only where that is unbounded.
WITH chosen AS (
    SELECT
        fills.quote, fills.symbol, fills.side, fills.order_id,
        date_trunc('month', to_timestamp(min(orders.created_ms) / 1000) AT TIME ZONE 'UTC') AS month,
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
    FROM fills LEFT JOIN orders USING (account_id, symbol, order_id)
    WHERE account_id = %(account_id)s
      AND (%(since_ms)s <= 0 OR orders.created_ms >= %(since_ms)s)
      AND (%(until_ms)s >= 4611686018427387904 OR orders.created_ms < %(until_ms)s)
      AND (%(symbol)s::text IS NULL OR symbol = %(symbol)s)
    GROUP BY 1, 2, 3, 4
)
SELECT
    quote, symbol, side, coalesce(to_char(month, 'YYYY-MM'), ''), sum(fills)::bigint, count(*), count(*),
    sum(volume), coalesce(sum(fees), 0), coalesce(sum(maker_volume), 0), coalesce(sum(maker_fees), 0),
    coalesce(sum(taker_volume), 0), coalesce(sum(taker_fees), 0), sum(unconverted)::bigint, min(first_ms),
    max(last_ms)
FROM chosen
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
