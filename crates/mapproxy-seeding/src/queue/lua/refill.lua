-- ARGV: ..., most. Puts work that failed back into the stream. Answers how much is left.
local found = redis.call('HSCAN', again, '0', 'COUNT', ARGV[6])[2]
for i = 1, #found, 2 do
  local attempts, tiles, text = string.match(found[i + 1], '^(%d+)\n(%d+)\n%d+\n([^\n]*)\n')
  redis.call('XADD', work, '*', 'w', text, 'd', '0', 'a', attempts)
  redis.call('HDEL', again, found[i])
  count('failed', -tonumber(tiles))
  count('pieces', -1)
end
return redis.call('HLEN', again)
