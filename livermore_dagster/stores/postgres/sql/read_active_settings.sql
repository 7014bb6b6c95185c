SELECT users.id, users.identity_sub, users.display_name, users.role, coalesce(settings.revision, 0), settings.document::text
FROM users LEFT JOIN user_settings AS settings ON settings.user_id = users.id
WHERE users.active AND (%(sub)s::text IS NULL OR users.identity_sub = %(sub)s)
ORDER BY users.id
