-- What I still hold is free for others at once.
if redis.call('HGET', state, 'walker') == me then redis.call('HDEL', state, 'walker') end
if #redis.call('XPENDING', work, 'workers', '-', '+', 1, me) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', work, 'workers', me)
  redis.call('ZREM', alive, me)
else
  redis.call('ZADD', alive, 0, me)
end
return 1
