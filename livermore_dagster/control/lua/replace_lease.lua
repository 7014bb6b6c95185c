-- KEYS: lease. ARGV: token of the dead holder, facts as JSON, TTL in ms ('' gives it up instead).
-- Returns 1 when the lease was still that holder's, else 0.
local held = redis.call('GET', KEYS[1])
if not held or cjson.decode(held)['token'] ~= ARGV[1] then return 0 end
if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'XX', 'PX', ARGV[3])
end
return 1
