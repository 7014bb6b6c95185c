SELECT * FROM (
    SELECT DISTINCT ON (market) market, seen_ms, name, maker_rate, taker_rate, volume_30d, fees_30d, currency
    FROM fee_tiers
    WHERE account_id = %(account_id)s
    ORDER BY market, seen_ms DESC
) AS newest
ORDER BY seen_ms DESC, market
