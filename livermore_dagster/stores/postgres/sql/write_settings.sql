INSERT INTO user_settings AS known (user_id, revision, document)
VALUES (%(user_id)s, 1, %(document)s::jsonb)
ON CONFLICT (user_id) DO UPDATE
SET revision = known.revision + 1, document = EXCLUDED.document, changed_at = now()
