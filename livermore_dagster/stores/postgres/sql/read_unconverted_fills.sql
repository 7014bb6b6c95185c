-- Plain 'unconverted' was never tried; 'unconverted: …' says why it cannot be. A candle that was missing then may
-- have come since: fills of after late_ms that lacked one are told too where a time is given.
SELECT symbol, fill_id, quote, filled_ms, fee, fee_currency
FROM fills
WHERE account_id = %(account_id)s AND fee_quote IS NULL
  AND CASE WHEN %(late_ms)s::bigint IS NULL THEN fee_rate_source = 'unconverted'
           ELSE fee_rate_source LIKE %(no_candle)s || '%%' AND filled_ms > %(late_ms)s END
ORDER BY fee_currency, quote, filled_ms
LIMIT %(limit)s
