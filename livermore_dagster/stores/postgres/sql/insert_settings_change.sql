INSERT INTO settings_changes (identity_sub, revision, path, before, after, changed_by)
VALUES (%(sub)s, %(revision)s, %(path)s, %(before)s::jsonb, %(after)s::jsonb, %(by)s)
