SELECT alert_deliveries.alert_id, alert_deliveries.channel, alert_deliveries.state,
    CASE WHEN state IN ('sent', 'pending') THEN NULL ELSE coalesce(last_error, reason) END
FROM alert_deliveries
WHERE alert_id = ANY(%(ids)s::bigint[])
ORDER BY alert_id, user_id, channel
