INSERT INTO users (identity_provider, identity_sub, email, display_name, picture_url, role)
VALUES (%(provider)s, %(sub)s, %(email)s, %(display_name)s, %(picture_url)s, %(role)s)
ON CONFLICT ON CONSTRAINT users_identity_key DO NOTHING
RETURNING id
