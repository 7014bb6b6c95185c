WITH given AS (
    SELECT * FROM json_to_recordset(%(balances)s::json) AS given (currency text, available numeric, hold numeric)
), told AS (
    UPDATE user_exchanges SET balances_read_ms = %(seen_ms)s WHERE id = %(account_id)s
), gone AS (
    DELETE FROM balances
    WHERE account_id = %(account_id)s AND currency NOT IN (SELECT currency FROM given)
)
INSERT INTO balances (account_id, currency, available, hold, seen_ms)
SELECT %(account_id)s, given.*, %(seen_ms)s FROM given
ON CONFLICT (account_id, currency) DO UPDATE SET
    available = excluded.available, hold = excluded.hold, seen_ms = excluded.seen_ms
