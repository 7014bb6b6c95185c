INSERT INTO command_history AS known (
    correlation_id, identity_sub, type, exchange, payload, priority, sent_ms, received_ms, started_ms, finished_ms,
    outcome, error, result, instance_id
)
VALUES (
    %(correlation_id)s, %(sub)s, %(type)s, %(exchange)s, %(payload)s, %(priority)s, %(sent_ms)s, %(received_ms)s,
    %(started_ms)s, %(finished_ms)s, %(outcome)s, %(error)s, %(result)s, %(instance_id)s
)
ON CONFLICT (correlation_id, identity_sub) DO UPDATE
SET started_ms = coalesce(EXCLUDED.started_ms, known.started_ms),
    finished_ms = coalesce(EXCLUDED.finished_ms, known.finished_ms),
    outcome = EXCLUDED.outcome,
    error = EXCLUDED.error,
    result = EXCLUDED.result,
    instance_id = EXCLUDED.instance_id
-- What is over stays as it ended; a note that comes late tells nothing new.
WHERE known.outcome IN ('accepted', 'running')
