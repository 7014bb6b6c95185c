SELECT currency, available, hold, seen_ms FROM balances WHERE account_id = %(account_id)s ORDER BY currency
