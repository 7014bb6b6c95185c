SELECT fills.fee_currency, sum(fills.fee), count(*)
FROM fills LEFT JOIN orders USING (account_id, symbol, order_id)
WHERE account_id = %(account_id)s AND fee_quote IS NULL
  AND (%(symbol)s::text IS NULL OR symbol = %(symbol)s)
  AND (%(since_ms)s <= 0 OR (CASE WHEN %(created)s THEN created_ms ELSE filled_ms END) >= %(since_ms)s)
  AND (%(until_ms)s >= 4611686018427387904 OR (CASE WHEN %(created)s THEN created_ms ELSE filled_ms END) < %(until_ms)s)
GROUP BY 1
ORDER BY 1
