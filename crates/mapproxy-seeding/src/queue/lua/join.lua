-- ARGV: prefix, plan, a new id, grace (ms), retry (0/1), number of tasks, then the refresh moment of each.
-- Answers {what, id, begun, plan, refresh...}; what: new, join, ended, other, nothing.
local run, plan, new, grace, retry, tasks = KEYS[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
local id = redis.call('HGET', run, 'id')
local finished = tonumber(redis.call('HGET', run, 'finished') or nil)
local other = id and redis.call('HGET', run, 'plan') ~= plan
local what = 'join'
if other and not finished then
  return {'other', id, redis.call('HGET', run, 'begun'), redis.call('HGET', run, 'plan')}
end
if retry then
  if not id or other then return {'nothing', '', '', ''} end
  for task = 0, tasks - 1 do
    local failed, again = key(task, 'failed'), key(task, 'again')
    if redis.call('EXISTS', failed) == 1 and redis.call('EXISTS', again) == 0
        and (finished or redis.call('HEXISTS', run, 'retry') == 0) then
      redis.call('RENAME', failed, again)
      redis.call('HDEL', run, 'finished', 'closer')
      redis.call('HSET', run, 'retry', now())
      finished = nil
    end
  end
  if finished then what = 'ended' end
elseif not id or other or (finished and now() - finished > grace) then
  for task = 0, tonumber(redis.call('HGET', run, 'tasks') or '0') - 1 do
    for _, part in ipairs({'state', 'work', 'failed', 'again', 'alive'}) do redis.call('UNLINK', key(task, part)) end
  end
  redis.call('UNLINK', run)
  id, what = new, 'new'
  redis.call('HSET', run, 'id', id, 'plan', plan, 'begun', math.floor(now() / 1000), 'tasks', tasks)
  for task = 0, tasks - 1 do
    redis.call('HSET', run, 'refresh:' .. task, ARGV[7 + task])
    redis.call('XGROUP', 'CREATE', key(task, 'work'), 'workers', '0', 'MKSTREAM')
    redis.call('EXPIRE', key(task, 'work'), 2592000)
  end
  redis.call('EXPIRE', run, 2592000)
elseif finished then
  what = 'ended'
end
local answer = {what, id, redis.call('HGET', run, 'begun'), plan}
for task = 0, tasks - 1 do answer[#answer + 1] = redis.call('HGET', run, 'refresh:' .. task) end
return answer
