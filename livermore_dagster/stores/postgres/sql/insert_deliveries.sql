INSERT INTO alert_deliveries (alert_id, user_id, channel, form, state, reason, routed_ms, next_attempt_ms)
SELECT given.*, %(now_ms)s, %(now_ms)s
FROM unnest(
    %(alert_id)s::bigint[], %(user_id)s::bigint[], %(channel)s::text[], %(form)s::text[], %(state)s::text[],
    %(reason)s::text[]
) AS given
ON CONFLICT DO NOTHING
