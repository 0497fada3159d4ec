-- ARGV: ..., whether I would walk (0/1). Says that I am alive. Answers {may I walk, length of the stream, where the walk
-- is, totals...}.
redis.call('ZADD', alive, now(), me)
for _, name in ipairs({run, state, work, failed, again, alive}) do redis.call('EXPIRE', name, 2592000) end
local walks = 0
if ARGV[6] == '0' and redis.call('HGET', state, 'walker') == me then redis.call('HDEL', state, 'walker') end
if ARGV[6] == '1' and (redis.call('HGET', state, 'over') ~= '1' or redis.call('EXISTS', again) == 1) then
  local walker = redis.call('HGET', state, 'walker')
  local seen = walker and redis.call('ZSCORE', alive, walker)
  if not seen or tonumber(seen) < now() - lease then
    redis.call('HSET', state, 'walker', me)
    walker = me
  end
  if walker == me then walks = 1 end
end
return {walks, redis.call('XLEN', work), redis.call('HGET', state, 'position') or '', totals()}
