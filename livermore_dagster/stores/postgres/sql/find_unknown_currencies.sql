-- Currencies of fills that no product of the exchange is made of, and fees without a price.
SELECT fee_currency, count(*), sum(fee), min(fee_rate_source)
FROM fills
WHERE account_id = %(account_id)s
  AND (fee_quote IS NULL OR fee_currency = '' OR quote = '' OR base = '')
GROUP BY 1
ORDER BY 1
