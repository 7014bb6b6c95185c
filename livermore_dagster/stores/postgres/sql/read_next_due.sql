-- When the next of a channel's deliveries is due, wall clock; NULL where none waits.
SELECT min(due_ms)
FROM (
    SELECT min(next_attempt_ms) AS due_ms
    FROM alert_deliveries
    WHERE user_id = %(user_id)s AND channel = %(channel)s AND state = 'pending' AND form = 'single'
    UNION ALL
    SELECT greatest(
        least(max(alert_deliveries.routed_ms) + %(hold_ms)s, min(alert_deliveries.routed_ms) + %(hold_most_ms)s),
        min(next_attempt_ms)
    )
    FROM alert_deliveries
    JOIN alert_history ON alert_history.id = alert_id
    WHERE user_id = %(user_id)s AND channel = %(channel)s AND state = 'pending' AND form = 'digest'
    GROUP BY exchange_id
) AS waiting
