INSERT INTO exchanges AS held (
    id, name, display_name, rest_url, ws_url, timeframes, streamed_timeframes, quote_currencies,
    api_limits, fee_schedule, geo_restrictions, active
)
VALUES (
    %(id)s, %(name)s, %(display_name)s, %(rest_url)s, %(ws_url)s, %(timeframes)s, %(streamed_timeframes)s,
    %(quote_currencies)s, %(api_limits)s, %(fee_schedule)s, %(geo_restrictions)s, %(active)s
)
ON CONFLICT (id) DO UPDATE
SET name = excluded.name,
    display_name = excluded.display_name,
    rest_url = excluded.rest_url,
    ws_url = excluded.ws_url,
    timeframes = excluded.timeframes,
    streamed_timeframes = excluded.streamed_timeframes,
    quote_currencies = excluded.quote_currencies,
    api_limits = excluded.api_limits,
    fee_schedule = excluded.fee_schedule,
    geo_restrictions = excluded.geo_restrictions,
    active = excluded.active,
    updated_at = now()
WHERE (
    held.name, held.display_name, held.rest_url, held.ws_url, held.timeframes, held.streamed_timeframes,
    held.quote_currencies, held.api_limits, held.fee_schedule, held.geo_restrictions, held.active
) IS DISTINCT FROM (
    excluded.name, excluded.display_name, excluded.rest_url, excluded.ws_url, excluded.timeframes,
    excluded.streamed_timeframes, excluded.quote_currencies, excluded.api_limits, excluded.fee_schedule,
    excluded.geo_restrictions, excluded.active
)
