-- KEYS: what was told of the newest instance that ended without a word, network log.
-- ARGV: its token, what is told of it as JSON, oldest log id to keep, then the log entry's fields.
-- Returns 1 when this call told it, 0 when it had been told.
local told = redis.call('GET', KEYS[1])
if told and cjson.decode(told)['token'] == ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], 'MINID', '~', ARGV[3], '*', unpack(ARGV, 4))
return 1
