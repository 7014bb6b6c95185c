SELECT users.identity_sub, users.active, users.role, EXISTS (
    SELECT FROM user_exchanges WHERE user_exchanges.user_id = users.id AND user_exchanges.exchange_id = %(exchange_id)s
)
FROM users
WHERE users.identity_sub = ANY(%(subs)s)
