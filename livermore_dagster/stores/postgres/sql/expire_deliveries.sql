-- What waits for a channel that is no longer in the settings, or has waited too long.
UPDATE alert_deliveries
SET state = 'expired', reason = CASE WHEN routed_ms < %(before_ms)s THEN %(too_old)s ELSE %(no_channel)s END
WHERE state = 'pending' AND (
    routed_ms < %(before_ms)s
    OR NOT EXISTS (
        SELECT FROM unnest(%(user_ids)s::bigint[], %(channels)s::text[]) AS kept (user_id, channel)
        WHERE kept.user_id = alert_deliveries.user_id AND kept.channel = alert_deliveries.channel
    )
)
