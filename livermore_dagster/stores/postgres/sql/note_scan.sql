UPDATE user_settings
SET document = jsonb_set(document, '{scanner,last_update_ms}', to_jsonb(%(at_ms)s::bigint))
WHERE coalesce(document #>> '{scanner,exchange}', %(exchange)s) = %(exchange)s
