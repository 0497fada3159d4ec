-- Before each script. KEYS[1] is the run; the names of all others begin with ARGV[1] and the number of a task.
local prefix = ARGV[1]
local function key(task, what) return prefix .. task .. ':' .. what end
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
