-- Judged, unless another has done so or a revision brought it back meanwhile. A row that is just being written to is
-- left out and judged again: neither does the notifier wait for ingest, nor ingest for it.
UPDATE alert_history AS judged
SET routed_ms = %(now_ms)s
FROM (
    SELECT id FROM alert_history
    WHERE id = ANY (%(ids)s) AND routed_ms IS NULL AND (withdrawn_ms IS NOT NULL OR id <> ALL (%(withdrawn)s))
    FOR UPDATE SKIP LOCKED
) AS free
WHERE judged.id = free.id
RETURNING judged.id
