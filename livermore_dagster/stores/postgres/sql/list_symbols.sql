SELECT symbol, max(updated_at) OVER () > now() - interval '1 day' AS fresh
FROM exchange_symbols
WHERE exchange_id = %(exchange_id)s
ORDER BY volume_rank NULLS LAST, symbol
