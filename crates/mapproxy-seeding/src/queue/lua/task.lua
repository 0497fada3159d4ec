-- Before each script on a task. ARGV: prefix, id of the run, number of the task, me, lease (ms), ...
local run, task, me, lease = KEYS[1], ARGV[3], ARGV[4], tonumber(ARGV[5])
if redis.call('HGET', run, 'id') ~= ARGV[2] then return 'gone' end
local state, work, failed, again, alive =
  key(task, 'state'), key(task, 'work'), key(task, 'failed'), key(task, 'again'), key(task, 'alive')
local function count(what, by) if by ~= 0 then redis.call('HINCRBY', state, what, string.format('%.0f', by)) end end
local function is_over()
  return redis.call('HGET', state, 'over') == '1' and redis.call('EXISTS', again) == 0
    and redis.call('XLEN', work) == 0
end
-- What all machines together have done, and whether all is done.
local function totals()
  local values = redis.call('HMGET', state, 'pieces', 'made', 'kept', 'empty', 'failed', 'bytes', 'redelivered',
    'added', 'fraction')
  for i = 1, 9 do values[i] = values[i] or '' end
  values[10] = redis.call('HLEN', failed)
  values[11] = redis.call('HLEN', again)
  values[12] = redis.call('ZCARD', alive)
  values[13] = is_over() and 1 or 0
  return values
end
local function fields(entry)
  local of = {}
  for i = 1, #entry, 2 do of[entry[i]] = entry[i + 1] end
  return of
end
-- Work that nobody will try again by itself: text, how many of its tiles, why.
local function give_up(id, of, tiles, reason)
  count('pieces', 1)
  count('failed', tiles)
  redis.call('HSET', failed, string.match(of.w, '^%d+'),
    (tonumber(of.a) + 1) .. '\n' .. tiles .. '\n' .. math.floor(now() / 1000) .. '\n' .. of.w .. '\n' .. reason)
  redis.call('XDEL', work, id)
end
