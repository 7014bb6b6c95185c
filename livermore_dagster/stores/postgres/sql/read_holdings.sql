SELECT users.id, users.identity_sub, balances.currency, sum(balances.available + balances.hold)
FROM balances
JOIN user_exchanges ON user_exchanges.id = balances.account_id
JOIN users ON users.id = user_exchanges.user_id
WHERE users.active AND user_exchanges.exchange_id = %(exchange_id)s
GROUP BY users.id, users.identity_sub, balances.currency
HAVING sum(balances.available + balances.hold) > 0
ORDER BY users.id, balances.currency
