SELECT market, seen_ms, name, maker_rate, taker_rate, volume_30d, fees_30d, currency
FROM fee_tiers
WHERE account_id = %(account_id)s
ORDER BY seen_ms DESC, market
LIMIT %(limit)s
