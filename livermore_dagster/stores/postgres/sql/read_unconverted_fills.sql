-- Plain 'unconverted' was never tried; 'unconverted: …' says why it cannot be.
SELECT symbol, fill_id, quote, filled_ms, fee, fee_currency
FROM fills
WHERE account_id = %(account_id)s AND fee_quote IS NULL AND fee_rate_source = 'unconverted'
ORDER BY fee_currency, quote, filled_ms
LIMIT %(limit)s
