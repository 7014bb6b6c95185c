-- What a batch of closes did to the indicators, all at once: values, fold states, announcements, acknowledgement.
-- KEYS: closes, status (the claim); then per series: indicator, state.
-- ARGV: claim token ('': none needed), group, number of series; per series: indicator JSON ('': unchanged),
-- state JSON, channel; then entry ids. Returns how many were acknowledged, -1 when the claim is not the token's.
local call = redis.call
local token, group, series = ARGV[1], ARGV[2], tonumber(ARGV[3])
if token ~= '' then
  local held = call('GET', KEYS[2])
  if not held or cjson.decode(held)['token'] ~= token then return -1 end
end
for index = 1, series do
  local at = 4 + (index - 1) * 3
  local key = 3 + (index - 1) * 2
  if ARGV[at] ~= '' then
    call('SET', KEYS[key], ARGV[at])
    call('PUBLISH', ARGV[at + 2], ARGV[at])
  end
  call('SET', KEYS[key + 1], ARGV[at + 1])
end
local acknowledged = 0
for at = 4 + series * 3, #ARGV do
  acknowledged = acknowledged + call('XACK', KEYS[1], group, ARGV[at])
end
return acknowledged
