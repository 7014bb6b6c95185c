-- The attempt is durable before anything leaves, so that a repetition after a crash carries a higher one. What
-- was withdrawn and has never left is not sent any more.
UPDATE alert_deliveries AS begun
SET attempts = begun.attempts + CASE WHEN gone THEN 0 ELSE 1 END,
    state = CASE WHEN gone THEN 'withdrawn' ELSE begun.state END
FROM (
    SELECT id, withdrawn_ms IS NOT NULL AS withdrawn FROM alert_history WHERE id = ANY (%(ids)s)
) AS alert
CROSS JOIN LATERAL (SELECT alert.withdrawn AND begun_before.attempts = 0 AS gone
    FROM alert_deliveries AS begun_before
    WHERE begun_before.alert_id = alert.id AND begun_before.user_id = %(user_id)s
        AND begun_before.channel = %(channel)s) AS judged
WHERE begun.alert_id = alert.id AND begun.user_id = %(user_id)s AND begun.channel = %(channel)s
    AND begun.state = 'pending'
RETURNING begun.alert_id, begun.attempts, begun.state
