SELECT id, name, display_name, rest_url, ws_url, timeframes, streamed_timeframes, quote_currencies,
    api_limits, fee_schedule, geo_restrictions, active
FROM exchanges
ORDER BY id
