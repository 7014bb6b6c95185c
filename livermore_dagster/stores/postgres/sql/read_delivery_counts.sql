-- Per user and channel: how many wait, since when, how many were sent and refused since a time, the newest of each.
SELECT identity_sub, channel,
    count(*) FILTER (WHERE state = 'pending'),
    min(alert_deliveries.routed_ms) FILTER (WHERE state = 'pending'),
    count(*) FILTER (WHERE state = 'sent' AND sent_ms >= %(since_ms)s),
    count(*) FILTER (WHERE state IN ('failed', 'expired') AND alert_deliveries.routed_ms >= %(since_ms)s),
    count(*) FILTER (WHERE state IN ('muted', 'quiet', 'withdrawn') AND alert_deliveries.routed_ms >= %(since_ms)s),
    max(sent_ms),
    (array_agg(last_error ORDER BY next_attempt_ms DESC) FILTER (WHERE last_error IS NOT NULL))[1]
FROM alert_deliveries
JOIN users ON users.id = alert_deliveries.user_id
WHERE state = 'pending' OR alert_deliveries.routed_ms >= %(since_ms)s
GROUP BY identity_sub, channel
ORDER BY identity_sub, channel
