-- One row without a currency where nothing is held; read_ms is NULL where the balances were never read.
SELECT currency, available, hold, coalesce(balances_read_ms, seen_ms) AS read_ms
FROM user_exchanges LEFT JOIN balances ON balances.account_id = user_exchanges.id
WHERE user_exchanges.id = %(account_id)s
ORDER BY currency
