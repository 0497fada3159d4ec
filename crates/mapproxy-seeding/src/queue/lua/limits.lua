-- KEYS[1]: the machines. ARGV: '', me, silence (ms), then for each host: its name, how long to hold it (ms, 0: only ask).
-- Answers {machines, for how long each host is held (ms)...}.
redis.call('ZADD', KEYS[1], now(), ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now() - tonumber(ARGV[3]))
redis.call('EXPIRE', KEYS[1], 3600)
local answer = {redis.call('ZCARD', KEYS[1])}
for i = 4, #ARGV, 2 do
  local held, wanted = 'mapproxy-seed:held:' .. ARGV[i], tonumber(ARGV[i + 1])
  local left = math.max(redis.call('PTTL', held), 0)
  if wanted > left then
    redis.call('SET', held, '1', 'PX', wanted)
    left = wanted
  end
  answer[#answer + 1] = left
end
return answer
