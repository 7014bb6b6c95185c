-- Alerts themselves stay.
DELETE FROM alert_deliveries
WHERE ctid = ANY (
    ARRAY (
        SELECT ctid FROM alert_deliveries
        WHERE routed_ms < %(before_ms)s AND state <> 'pending'
        LIMIT %(limit)s
    )
)
