UPDATE fills
SET fee_quote = given.fee_quote, fee_rate_source = given.fee_rate_source
FROM json_to_recordset(%(converted)s::json) AS given (
    symbol text, fill_id text, fee_quote numeric, fee_rate_source text
)
WHERE account_id = %(account_id)s AND fills.symbol = given.symbol AND fills.fill_id = given.fill_id
  AND fills.fee_quote IS NULL
