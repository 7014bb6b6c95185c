INSERT INTO fills_aside (
    account_id, symbol, entry_id, order_id, trade_type, side, traded_ms, price, size, commission
)
SELECT %(account_id)s, symbol, entry_id, order_id, trade_type, side, traded_ms, price, size, commission
FROM json_to_recordset(%(entries)s::json) AS given (
    symbol text, entry_id text, order_id text, trade_type text, side text, traded_ms bigint, price text,
    size text, commission text
)
ON CONFLICT (account_id, symbol, entry_id) DO NOTHING
