SELECT id, withdrawn_ms FROM alert_history WHERE id = ANY(%(ids)s::bigint[]) AND withdrawn_ms IS NOT NULL ORDER BY id
