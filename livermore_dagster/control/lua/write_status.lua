-- KEYS: status, last known status. ARGV: token, status as JSON, TTL in ms ('' keeps the TTL as it is).
-- Returns 1 written, 0 no claim, -1 another's claim. Never creates the status key, never leaves it without TTL.
local held = redis.call('GET', KEYS[1])
if not held then return 0 end
if cjson.decode(held)['token'] ~= ARGV[1] then return -1 end
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2], 'XX', 'KEEPTTL')
else
  redis.call('SET', KEYS[1], ARGV[2], 'XX', 'PX', ARGV[3])
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
