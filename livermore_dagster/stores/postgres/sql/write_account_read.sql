INSERT INTO account_reads (
    account_id, kind, market, under_way, token, since_ms, complete, newest_ms, pages, rows_received, rows_new,
    updated_ms
) VALUES (
    %(account_id)s, %(kind)s, %(market)s, %(under_way)s, %(token)s, %(since_ms)s, %(complete)s, %(newest_ms)s,
    %(pages)s, %(rows_received)s, %(rows_new)s, %(updated_ms)s
)
ON CONFLICT (account_id, kind, market) DO UPDATE SET
    under_way = excluded.under_way, token = excluded.token, since_ms = excluded.since_ms,
    complete = excluded.complete, newest_ms = excluded.newest_ms, pages = excluded.pages,
    rows_received = excluded.rows_received, rows_new = excluded.rows_new, updated_ms = excluded.updated_ms
