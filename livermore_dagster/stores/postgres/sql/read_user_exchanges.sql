SELECT user_exchanges.id, exchanges.id, exchanges.name, users.id, users.identity_sub, key_env, secret_env, markets,
       is_default
FROM user_exchanges
JOIN users ON users.id = user_exchanges.user_id
JOIN exchanges ON exchanges.id = user_exchanges.exchange_id
WHERE (%(id)s::bigint IS NULL OR user_exchanges.id = %(id)s)
  AND (%(sub)s::text IS NULL OR users.identity_sub = %(sub)s)
  AND (%(exchange_id)s::smallint IS NULL OR exchanges.id = %(exchange_id)s)
ORDER BY user_exchanges.id
