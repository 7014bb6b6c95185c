INSERT INTO exchange_probes (exchange_id, probe, supported, detail)
VALUES (%(exchange_id)s, %(probe)s, %(supported)s, %(detail)s)
ON CONFLICT (exchange_id, probe) DO UPDATE
SET supported = excluded.supported, detail = excluded.detail, probed_at = now()
