-- One alert and place are judged once; again only where the alert was withdrawn before it left, and stands again.
INSERT INTO alert_deliveries (alert_id, user_id, channel, form, state, reason, routed_ms, next_attempt_ms)
SELECT given.*, %(now_ms)s, %(now_ms)s
FROM unnest(
    %(alert_id)s::bigint[], %(user_id)s::bigint[], %(channel)s::text[], %(form)s::text[], %(state)s::text[],
    %(reason)s::text[]
) AS given
ON CONFLICT (alert_id, user_id, channel) DO UPDATE
SET form = excluded.form, state = excluded.state, reason = excluded.reason, routed_ms = excluded.routed_ms,
    next_attempt_ms = excluded.next_attempt_ms
WHERE alert_deliveries.state = 'withdrawn' AND alert_deliveries.attempts = 0
