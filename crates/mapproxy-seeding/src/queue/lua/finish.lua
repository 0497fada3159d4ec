-- ARGV: ..., then for each piece: entry, what (done, failed, back), made, kept, bytes, tiles, reason. Answers how many
-- were counted: work that was given to another machine meanwhile counts once, for who is first.
local counted = 0
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
      count('pieces', 1)
      count('made', tonumber(ARGV[i + 2]))
      count('kept', tonumber(ARGV[i + 3]))
      count('empty', math.max(0, tonumber(ARGV[i + 5]) - tonumber(ARGV[i + 2]) - tonumber(ARGV[i + 3])))
      count('bytes', tonumber(ARGV[i + 4]))
      redis.call('XDEL', work, id)
    else
      give_up(id, fields(entry[2]), tonumber(ARGV[i + 5]), ARGV[i + 6])
    end
  end
end
return counted
