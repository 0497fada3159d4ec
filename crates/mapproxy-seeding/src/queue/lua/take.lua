-- KEYS[1]: when the next request to a host may be sent (µs). ARGV: '', time between two requests (µs). Answers how long
-- this one has to wait (µs).
local time = redis.call('TIME')
local at, between = time[1] * 1000000 + time[2], tonumber(ARGV[2])
local turn = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), at)
-- A rate that was raised since, or a clock that was put back, is not waited for.
turn = math.min(turn, at + between * 100000)
redis.call('SET', KEYS[1], string.format('%.0f', turn + between), 'PX', math.ceil((turn - at + between) / 1000) + 1000)
return string.format('%.0f', turn - at)
