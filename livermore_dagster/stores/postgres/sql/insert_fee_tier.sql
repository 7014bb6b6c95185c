-- A tier that says what the newest one said is not another one.
INSERT INTO fee_tiers (
    account_id, market, seen_ms, name, maker_rate, taker_rate, volume_30d, fees_30d, currency
)
SELECT %(account_id)s, %(market)s, %(seen_ms)s, %(name)s, %(maker_rate)s, %(taker_rate)s, %(volume_30d)s,
       %(fees_30d)s, %(currency)s
WHERE NOT EXISTS (
    SELECT FROM (
        SELECT * FROM fee_tiers
        WHERE account_id = %(account_id)s AND market = %(market)s
        ORDER BY seen_ms DESC LIMIT 1
    ) AS newest
    WHERE (newest.name, newest.maker_rate, newest.taker_rate, newest.volume_30d, newest.fees_30d)
          IS NOT DISTINCT FROM (%(name)s::text, %(maker_rate)s::numeric, %(taker_rate)s::numeric,
                                %(volume_30d)s::numeric, %(fees_30d)s::numeric)
)
ON CONFLICT DO NOTHING
