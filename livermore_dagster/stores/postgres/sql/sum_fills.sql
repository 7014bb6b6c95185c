-- Straight over the fills, by no grouping of the report's: what its totals are compared with.
SELECT quote, count(*), sum(value), coalesce(sum(fee_quote), 0), count(DISTINCT (symbol, order_id))
FROM fills
WHERE account_id = %(account_id)s
GROUP BY 1
ORDER BY 1
