-- KEYS: status, last known status, key of the standby it shall pass to ('' for none).
-- ARGV: token, last status as JSON, TTL in ms.
-- Returns 2 passed to that standby, 1 released, 0 no claim, -1 another's claim (left untouched).
-- A claim that is passed is never free in between. A standby that has gone meanwhile gets nothing.
local held = redis.call('GET', KEYS[1])
if not held then return 0 end
if cjson.decode(held)['token'] ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[2], ARGV[2])
if KEYS[3] ~= '' then
  local next_one = redis.call('GET', KEYS[3])
  if next_one then
    redis.call('SET', KEYS[1], next_one, 'XX', 'PX', ARGV[3])
    redis.call('DEL', KEYS[3])
    return 2
  end
end
redis.call('DEL', KEYS[1])
return 1
