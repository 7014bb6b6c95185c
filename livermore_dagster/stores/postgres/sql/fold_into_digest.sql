-- Singles a channel could not tell in time are told in its digest.
UPDATE alert_deliveries
SET form = 'digest'
WHERE user_id = %(user_id)s AND channel = %(channel)s AND state = 'pending' AND form = 'single'
    AND alert_id = ANY (%(ids)s)
