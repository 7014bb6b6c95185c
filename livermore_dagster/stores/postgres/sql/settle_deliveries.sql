-- What still waits keeps the words of its last attempt: it may be put off without another.
UPDATE alert_deliveries
SET state = %(state)s, receipt = coalesce(%(receipt)s, receipt), sent_ms = %(sent_ms)s,
    reason = coalesce(%(reason)s, reason), next_attempt_ms = coalesce(%(next_ms)s, next_attempt_ms),
    last_error = coalesce(%(error)s, CASE WHEN %(state)s::text = 'pending' THEN last_error END),
    attempts = attempts - CASE WHEN %(unmade)s THEN 1 ELSE 0 END
WHERE alert_id = ANY (%(ids)s) AND user_id = %(user_id)s AND channel = %(channel)s AND state = 'pending'
