-- Newest first.
SELECT entry_id, order_id, symbol, trade_type, side, traded_ms, price, size, commission
FROM fills_aside
WHERE account_id = %(account_id)s
ORDER BY traded_ms DESC, symbol, entry_id
LIMIT %(limit)s
