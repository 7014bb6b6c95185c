-- The session that was granted an account's advisory lock, and when it took it (its newest statement). Neither
-- time nor address of another role's session is shown to who is not in pg_read_all_stats.
SELECT
    activity.pid,
    CASE WHEN activity.query_start IS NOT NULL THEN coalesce(host(activity.client_addr), 'a local socket') END
        AS address,
    (extract(EPOCH FROM activity.query_start) * 1000)::bigint AS since_ms
FROM pg_locks AS held
INNER JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.locktype = 'advisory' AND held.granted
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND held.classid = %(space)s::bigint::oid AND held.objid = %(account_id)s::bigint::oid AND held.objsubid = 2
