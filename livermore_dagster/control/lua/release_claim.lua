-- KEYS: status, last known status. ARGV: token, last status as JSON.
-- Returns 1 released, 0 no claim, -1 another's claim (left untouched).
local held = redis.call('GET', KEYS[1])
if not held then return 0 end
if cjson.decode(held)['token'] ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('DEL', KEYS[1])
return 1
