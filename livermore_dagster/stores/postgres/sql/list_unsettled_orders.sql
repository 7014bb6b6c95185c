SELECT created_ms, order_id
FROM orders
WHERE account_id = %(account_id)s AND NOT settled AND (%(market)s = '' OR symbol = %(market)s)
ORDER BY created_ms, length(order_id), order_id
LIMIT %(limit)s
