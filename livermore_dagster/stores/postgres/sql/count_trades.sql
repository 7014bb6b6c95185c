SELECT
    (SELECT count(*) FROM orders WHERE account_id = %(account_id)s),
    (SELECT count(*) FROM fills WHERE account_id = %(account_id)s)
