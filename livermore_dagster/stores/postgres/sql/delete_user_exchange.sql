DELETE FROM user_exchanges WHERE id = %(id)s
