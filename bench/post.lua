-- Tool calls for wrk: `wrk … -s post.lua URL -- BODIES SESSIONS TRACED BODY… NAME VALUE …`.
-- Prints exact figures as JSON.
--
-- As in real traffic the heads differ: by the bodies' lengths and by the sessions (SESSIONS of
-- them, of equal length); with TRACED = 1 each request has a `traceparent` of its own besides.

local requests, count, sent, traced = {}, 0, 0, false

function init(args)
  local bodies, sessions = tonumber(args[1]), tonumber(args[2])
  traced = args[3] == "1"
  wrk.method = "POST"
  for i = 4 + bodies, #args, 2 do
    wrk.headers[args[i]] = args[i + 1]
  end
  for session = 1, sessions do
    wrk.headers["Mcp-Session-Id"] = string.format("%032x", session * 7919)
    for body = 1, bodies do
      count = count + 1
      requests[count] = wrk.format(nil, nil, nil, args[3 + body])
    end
  end
end

function request()
  sent = sent + 1
  local text = requests[sent % count + 1]
  if not traced then
    return text
  end
  return (text:gsub("\r\n", string.format("\r\ntraceparent: 00-%032x-%016x-01\r\n", sent, sent), 1))
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_us": %.1f, "p99_us": %.1f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
