SELECT fill_id, order_id, symbol, base, quote, side, filled_ms, price, size, value, fee, fee_currency, liquidity,
       fee_quote
FROM fills
WHERE account_id = %(account_id)s
ORDER BY filled_ms, symbol, length(fill_id), fill_id
