DELETE FROM command_history
WHERE ctid = ANY (ARRAY (SELECT ctid FROM command_history WHERE received_ms < %(before_ms)s LIMIT %(limit)s))
