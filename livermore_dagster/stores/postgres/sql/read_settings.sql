SELECT revision, document::text FROM user_settings WHERE user_id = %(user_id)s
