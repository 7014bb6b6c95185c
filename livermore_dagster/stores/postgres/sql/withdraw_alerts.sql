UPDATE alert_history AS kept
SET withdrawn_ms = gone.withdrawn_ms
FROM unnest(
    %(symbol)s::text[], %(timeframe)s::text[], %(label)s::text[], %(open_ms)s::bigint[], %(withdrawn_ms)s::bigint[]
) AS gone (symbol, timeframe, label, open_ms, withdrawn_ms)
WHERE kept.exchange_id = %(exchange_id)s AND kept.symbol = gone.symbol AND kept.timeframe = gone.timeframe
  AND kept.label = gone.label AND kept.open_ms = gone.open_ms AND kept.withdrawn_ms IS NULL
