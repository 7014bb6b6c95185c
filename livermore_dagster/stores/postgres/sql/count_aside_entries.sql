SELECT trade_type, count(*)
FROM fills_aside
WHERE account_id = %(account_id)s
  AND (%(since_ms)s::bigint IS NULL OR traded_ms >= %(since_ms)s)
  AND (%(until_ms)s::bigint IS NULL OR traded_ms < %(until_ms)s)
  AND (%(symbol)s::text IS NULL OR symbol = %(symbol)s)
GROUP BY trade_type
ORDER BY trade_type
