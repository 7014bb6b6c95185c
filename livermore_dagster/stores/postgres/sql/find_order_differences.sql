-- Settled orders whose own figures are not those of their fills, and fills of unknown orders. Exchanges round
-- an order's value, size (of fills told in quote) and fee, so they may differ by a millionth. What is newer than the newest of the other
-- kind is still on its way. Where the exchange does not tell an order's fee, it is not compared.
WITH sums AS (
    SELECT symbol, order_id, sum(size) AS size, sum(value) AS value, count(*) AS fills, sum(fee) AS fee,
           min(fee_currency) AS least, max(fee_currency) AS most, max(filled_ms) AS newest_ms
    FROM fills WHERE account_id = %(account_id)s
    GROUP BY 1, 2
), own AS (
    SELECT * FROM orders WHERE account_id = %(account_id)s
), newest AS (
    SELECT (SELECT max(newest_ms) FROM sums) AS fill_ms, (SELECT max(updated_ms) FROM own) AS order_ms
), judged AS (
    SELECT
        coalesce(own.symbol, sums.symbol) AS symbol,
        coalesce(own.order_id, sums.order_id) AS order_id,
        CASE
            WHEN own.order_id IS NULL AND sums.newest_ms <= order_ms THEN 'its order is not known'
            WHEN own.order_id IS NULL OR NOT own.settled THEN NULL
            WHEN sums.order_id IS NULL AND own.filled_size > 0 AND own.updated_ms <= fill_ms
                THEN 'its fills are not known'
            WHEN abs(own.filled_size - sums.size) > 0.000001 * abs(sums.size) THEN 'size'
            WHEN own.fill_count <> sums.fills THEN 'number of fills'
            WHEN abs(own.filled_value - sums.value) > 0.000001 * abs(sums.value) THEN 'value'
            WHEN abs(own.fee - sums.fee) > 0.000001 * abs(sums.fee)
                AND sums.least = sums.most AND sums.least = own.fee_currency THEN 'fee'
        END AS difference,
        own.filled_size, sums.size, own.filled_value, sums.value, own.fee, sums.fee AS fill_fee
    FROM newest, own FULL JOIN sums USING (symbol, order_id)
)
SELECT * FROM judged WHERE difference IS NOT NULL ORDER BY 1, 2 LIMIT %(limit)s
