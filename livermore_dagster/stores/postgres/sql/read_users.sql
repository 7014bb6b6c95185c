SELECT id, identity_provider, identity_sub, email, display_name, picture_url, role, active, last_login_at
FROM users
WHERE %(sub)s::text IS NULL OR identity_sub = %(sub)s
ORDER BY id
