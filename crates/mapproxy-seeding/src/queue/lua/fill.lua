-- ARGV: ..., position before and after, fraction, over (0/1), then works. Answers the length of the stream, or 'lost'
-- where another machine walks or has walked meanwhile.
if redis.call('HGET', state, 'walker') ~= me then return 'lost' end
if (redis.call('HGET', state, 'position') or '') ~= ARGV[6] then return 'lost' end
for i = 10, #ARGV do redis.call('XADD', work, '*', 'w', ARGV[i], 'd', '0', 'a', '0') end
count('added', #ARGV - 9)
redis.call('HSET', state, 'position', ARGV[7], 'fraction', ARGV[8], 'over', ARGV[9])
return redis.call('XLEN', work)
