SELECT correlation_id, identity_sub, type, exchange, payload, priority, sent_ms, received_ms, started_ms, finished_ms,
    outcome, error, result, instance_id
FROM command_history
WHERE (%(exchange)s::text IS NULL OR exchange = %(exchange)s)
    AND (%(sub)s::text IS NULL OR identity_sub = %(sub)s)
ORDER BY received_ms DESC
LIMIT %(limit)s
