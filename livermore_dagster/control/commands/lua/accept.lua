-- KEYS: seen, queue of the lane, bodies, sequence, status. ARGV: id, command as JSON, rank, claim token, ms to remember.
-- Takes a command once, if the caller still holds the claim. Returns 1 taken, 0 known already, -1 not the
-- holder, or its sender has given up on it.
local held = redis.call('GET', KEYS[5])
if not held or cjson.decode(held)['token'] ~= ARGV[4] then return -1 end
if not redis.call('SET', KEYS[1], 'taken', 'NX', 'PX', ARGV[5]) then
  if redis.call('GET', KEYS[1]) == 'withdrawn' then return -1 end
  return 0
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], tonumber(ARGV[3]) * 1e12 + redis.call('INCR', KEYS[4]), ARGV[1])
return 1
