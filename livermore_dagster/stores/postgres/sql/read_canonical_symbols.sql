-- The id each symbol's data is kept under, of one exchange or of any.
SELECT symbol, coalesce(alias_of, symbol)
FROM exchange_symbols
WHERE %(exchange_id)s::smallint IS NULL OR exchange_id = %(exchange_id)s
ORDER BY volume_rank NULLS LAST, symbol
