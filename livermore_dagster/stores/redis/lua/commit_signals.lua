-- What a batch of closes did to the indicators, all at once: values, fold states, announcements, acknowledgement.
-- KEYS: closes; then per series: indicator, state.
-- ARGV: group, number of series; per series: indicator JSON ('': unchanged), state JSON, channel; then entry ids.
local call = redis.call
local group, series = ARGV[1], tonumber(ARGV[2])
for index = 1, series do
  local at = 3 + (index - 1) * 3
  local key = 2 + (index - 1) * 2
  if ARGV[at] ~= '' then
    call('SET', KEYS[key], ARGV[at])
    call('PUBLISH', ARGV[at + 2], ARGV[at])
  end
  call('SET', KEYS[key + 1], ARGV[at + 1])
end
local acknowledged = 0
for at = 3 + series * 3, #ARGV do
  acknowledged = acknowledged + call('XACK', KEYS[1], group, ARGV[at])
end
return acknowledged
