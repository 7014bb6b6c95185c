-- What a batch of closes did to the indicators, all at once: values, fold states, announcements, acknowledgement.
-- KEYS: closes, status (the claim), symbols that are gone (of them nothing is kept); then per series: indicator, state.
-- ARGV: claim token ('': none needed), group, number of series; per series: symbol, indicator JSON ('': unchanged),
-- state JSON, channel; then entry ids. Returns how many were acknowledged, -1 when the claim is not the token's.
local call = redis.call
local token, group, series = ARGV[1], ARGV[2], tonumber(ARGV[3])
if token ~= '' then
  local held = call('GET', KEYS[2])
  if not held or cjson.decode(held)['token'] ~= token then return -1 end
end
local some_gone = call('EXISTS', KEYS[3]) == 1
for index = 1, series do
  local at = 4 + (index - 1) * 4
  local key = 4 + (index - 1) * 2
  local kept = not some_gone or call('SISMEMBER', KEYS[3], ARGV[at]) == 0
  if kept and ARGV[at + 1] ~= '' then
    call('SET', KEYS[key], ARGV[at + 1])
    call('PUBLISH', ARGV[at + 3], ARGV[at + 1])
  end
  if kept then
    call('SET', KEYS[key + 1], ARGV[at + 2])
  end
end
local acknowledged = 0
for at = 4 + series * 4, #ARGV do
  acknowledged = acknowledged + call('XACK', KEYS[1], group, ARGV[at])
end
return acknowledged
