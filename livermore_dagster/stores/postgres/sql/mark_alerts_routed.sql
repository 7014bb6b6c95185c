UPDATE alert_history SET routed_ms = %(now_ms)s WHERE id = ANY (%(ids)s)
