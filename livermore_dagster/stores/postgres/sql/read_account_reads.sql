SELECT kind, market, under_way, token, since_ms, complete, newest_ms, pages, rows_received, rows_new, updated_ms
FROM account_reads
WHERE account_id = %(account_id)s
ORDER BY kind, market
