-- ARGV: ..., then for each piece: entry, what (done, failed, back), made, kept, bytes, tiles, reason. Answers how many
-- were counted: work that was given to another machine meanwhile counts once, for who is first.
local counted, done, made, kept, empty, bytes = 0, 0, 0, 0, 0, 0
for i = 6, #ARGV, 7 do
  local id, what = ARGV[i], ARGV[i + 1]
  local entry = redis.call('XRANGE', work, id, id)[1]
  if what == 'back' then
    local held = redis.call('XPENDING', work, 'workers', id, id, 1, me)
    if #held > 0 then
      redis.call('XACK', work, 'workers', id)
      if entry then
        local of = fields(entry[2])
        redis.call('XADD', work, '*', 'w', of.w, 'd', of.d + held[1][4] - 1, 'a', of.a)
        redis.call('XDEL', work, id)
      end
    end
  elseif redis.call('XACK', work, 'workers', id) == 1 and entry then
    counted = counted + 1
    if what == 'done' then
      done = done + 1
      made, kept, bytes = made + ARGV[i + 2], kept + ARGV[i + 3], bytes + ARGV[i + 4]
      empty = empty + math.max(0, ARGV[i + 5] - ARGV[i + 2] - ARGV[i + 3])
      redis.call('XDEL', work, id)
    else
      give_up(id, fields(entry[2]), tonumber(ARGV[i + 5]), ARGV[i + 6])
    end
  end
end
count('pieces', done)
count('made', made)
count('kept', kept)
count('empty', empty)
count('bytes', bytes)
return counted
