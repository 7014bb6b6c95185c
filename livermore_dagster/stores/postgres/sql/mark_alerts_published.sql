UPDATE alert_history SET published_ms = %(published_ms)s WHERE id = ANY (%(ids)s) AND published_ms IS NULL
