UPDATE users SET role = %(role)s, active = %(active)s, email = %(email)s, display_name = %(display_name)s,
    picture_url = %(picture_url)s
WHERE id = %(id)s
