-- Judged, unless another has done so, or a revision took it back or brought it again meanwhile: what was read of it no
-- longer holds then. Left out is also a row that is just being written to: neither does the notifier wait for ingest,
-- nor ingest for it.
UPDATE alert_history AS judged
SET routed_ms = %(now_ms)s
FROM (
    SELECT id FROM alert_history
    WHERE id = ANY (%(ids)s) AND routed_ms IS NULL AND (withdrawn_ms IS NOT NULL) = (id = ANY (%(withdrawn)s))
    FOR UPDATE SKIP LOCKED
) AS free
WHERE judged.id = free.id
RETURNING judged.id
