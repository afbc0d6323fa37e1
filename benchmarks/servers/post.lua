-- Posts the bodies of a folder in turn: wrk … -- FOLDER BODIES THINK_MS
-- With THINK_MS each connection waits an exponential time of that mean before each request.
local posts, last = {}, 0

local function content(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

function init(args)
  local folder, count, think = args[1], tonumber(args[2]), tonumber(args[3])
  for line in io.lines(folder .. "/headers") do
    local name, value = line:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
  for index = 1, count do
    posts[index] = wrk.format("POST", nil, nil, content(folder .. "/" .. index))
  end
  if think > 0 then
    math.randomseed(count)
    delay = function()
      return math.floor(0.5 - think * math.log(1 - math.random()))
    end
  end
end

function request()
  last = last % #posts + 1
  return posts[last]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "FIGURES %d %d %f %f %d %d\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), errors.status, errors.connect + errors.read + errors.write
  ))
end
