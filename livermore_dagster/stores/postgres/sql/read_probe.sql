SELECT probe, supported, detail, probed_at
FROM exchange_probes
WHERE exchange_id = %(exchange_id)s AND probe = %(probe)s
