SELECT revision, path, before::text, after::text, changed_by, changed_at
FROM settings_changes
WHERE identity_sub = %(sub)s
ORDER BY id DESC
LIMIT %(limit)s
