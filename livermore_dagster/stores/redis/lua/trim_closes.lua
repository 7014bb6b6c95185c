-- Removes entries that every group has acknowledged. KEYS: closes. ARGV: the groups that must exist.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end

local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function before(a, b)
  local am, as = parts(a)
  local bm, bs = parts(b)
  return am < bm or (am == bm and as < bs)
end

local delivered = {}
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local facts = {}
  for i = 1, #group, 2 do facts[group[i]] = group[i + 1] end
  delivered[facts['name']] = facts['last-delivered-id']
end

local keep
for _, name in ipairs(ARGV) do
  if not delivered[name] then
    return 0
  end
  local oldest = redis.call('XPENDING', KEYS[1], name)[2]
  if not oldest then
    -- All that was delivered is acknowledged: keep from the entry after it.
    local ms, seq = string.match(delivered[name], '^(%d+)-(%d+)$')
    oldest = ms .. '-' .. string.format('%.0f', tonumber(seq) + 1)
  end
  if not keep or before(oldest, keep) then
    keep = oldest
  end
end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', keep)
