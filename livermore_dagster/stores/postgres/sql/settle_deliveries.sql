UPDATE alert_deliveries
SET state = %(state)s, last_error = %(error)s, receipt = coalesce(%(receipt)s, receipt), sent_ms = %(sent_ms)s,
    reason = coalesce(%(reason)s, reason), next_attempt_ms = coalesce(%(next_ms)s, next_attempt_ms),
    attempts = attempts - CASE WHEN %(unmade)s THEN 1 ELSE 0 END
WHERE alert_id = ANY (%(ids)s) AND user_id = %(user_id)s AND channel = %(channel)s AND state = 'pending'
