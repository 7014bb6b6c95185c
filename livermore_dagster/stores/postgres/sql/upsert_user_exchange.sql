-- A user's first exchange is the default one. Naming variables anew keeps what was read.
INSERT INTO user_exchanges (user_id, exchange_id, key_env, secret_env, markets, is_default)
VALUES (
    %(user_id)s, %(exchange_id)s, %(key_env)s, %(secret_env)s, %(markets)s,
    NOT EXISTS (SELECT FROM user_exchanges WHERE user_id = %(user_id)s AND is_default)
)
ON CONFLICT (user_id, exchange_id) DO UPDATE SET
    key_env = excluded.key_env, secret_env = excluded.secret_env, markets = excluded.markets
RETURNING id
