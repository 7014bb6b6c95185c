-- One entry per boundary, ever, and never an earlier one after a later one.
-- KEYS: boundaries stream, guard, counters. ARGV: boundary ms, timeframes, settled, unsettled, wall ms, length.
local last = redis.call('GET', KEYS[2])
if last and tonumber(ARGV[1]) <= tonumber(last) then
  return false
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'boundaries', 1)
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[6], '*',
  'b', ARGV[1], 't', ARGV[2], 's', ARGV[3], 'u', ARGV[4], 'w', ARGV[5])
