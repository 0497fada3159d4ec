-- ARGV: ..., most, at least, deaths allowed, then the entries that I hold. Answers {over (0/1), entry, work, entry, ...}:
-- what workers that died have left, what I should hold but do not know of (answers get lost), and then new work.
local most, least, deaths, from = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), now() - lease
redis.call('ZADD', alive, now(), me)
local answer, mine = {0}, {}
for i = 9, #ARGV do mine[ARGV[i]] = true end
-- The last machine that may die of a piece has nothing else in hand: so no other piece can be to blame.
if #ARGV == 9 then
  local held = redis.call('XPENDING', work, 'workers', ARGV[9], ARGV[9], 1, me)[1]
  local entry = held and redis.call('XRANGE', work, ARGV[9], ARGV[9])[1]
  if entry and held[4] + tonumber(fields(entry[2]).d) >= deaths then return answer end
end
local function take(entries)
  for _, entry in ipairs(entries) do
    if entry[2] then
      mine[entry[1]] = true
      answer[#answer + 1] = entry[1]
      answer[#answer + 1] = fields(entry[2]).w
    end
  end
end
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', alive, '-inf', '(' .. from, 'LIMIT', 0, 100)) do
  local pending = redis.call('XPENDING', work, 'workers', '-', '+', most, dead)
  local ids = {}
  for _, one in ipairs(pending) do
    local entry = redis.call('XRANGE', work, one[1], one[1])[1]
    if not entry then
      redis.call('XACK', work, 'workers', one[1])
    else
      local of = fields(entry[2])
      local died = one[4] + tonumber(of.d)
      if died >= deaths then
        local _, tiles = string.gsub(of.w, ';', ';')
        tiles = tiles + 1
        local columns, rows = string.match(of.w, ':(%d+)x%-?(%d+)$')
        if columns then tiles = columns * rows end
        redis.call('XACK', work, 'workers', one[1])
        give_up(one[1], of, tiles, died .. ' machines that took it on have died')
      elseif died < deaths - 1 then
        ids[#ids + 1] = one[1]
      elseif #ARGV == 8 and #answer == 1 and #ids == 0 then
        take(redis.call('XCLAIM', work, 'workers', me, 0, one[1]))
        count('redelivered', 1)
        return answer
      end
    end
  end
  if #ids > 0 then
    take(redis.call('XCLAIM', work, 'workers', me, 0, unpack(ids)))
    count('redelivered', #ids)
    most = most - #ids
  elseif #pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', work, 'workers', dead)
    redis.call('ZREM', alive, dead)
  end
  if most <= 0 then return answer end
end
for _, one in ipairs(redis.call('XPENDING', work, 'workers', '-', '+', 10000, me)) do
  if not mine[one[1]] then
    local entry = redis.call('XRANGE', work, one[1], one[1])[1]
    if entry then take({entry}) else redis.call('XACK', work, 'workers', one[1]) end
  end
end
-- No more than a fair part of what is left: the end comes to all at the same time.
local left = redis.call('XLEN', work) - redis.call('XPENDING', work, 'workers')[1]
local fair = math.ceil(left / (2 * redis.call('ZCARD', alive)))
most = math.min(most, math.max(least, fair)) - (#answer - 1) / 2
if most > 0 and left > 0 then
  local new = redis.call('XREADGROUP', 'GROUP', 'workers', me, 'COUNT', most, 'STREAMS', work, '>')
  if new then take(new[1][2]) end
end
if #answer == 1 and is_over() then
  answer[1] = 1
  redis.call('HSET', state, 'ended', 1)
  local all = 1
  for other = 0, tonumber(redis.call('HGET', run, 'tasks')) - 1 do
    if redis.call('HGET', key(other, 'state'), 'over') ~= '1' or redis.call('EXISTS', key(other, 'again')) == 1
        or redis.call('XLEN', key(other, 'work')) > 0 then all = 0 end
  end
  if all == 1 then
    redis.call('HSETNX', run, 'finished', now())
    redis.call('HDEL', run, 'retry')
  end
end
return answer
