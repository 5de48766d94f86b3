-- Performance tracking: whatever is done is measured, and each measurement is an artifact that can be asked for later.
-- The work is to hash a file in each of the ways that the hash-calculator knows.
--
--   llmspellfs run examples/lua/performance.lua FILE

local path = arg[1]
if not path then
    io.stderr:write("usage: performance.lua FILE\n")
    os.exit(2)
end

-- Gives what `work` gives, and fails as it fails; either way there is a measurement.
local function track(session, operation, work)
    collectgarbage()
    local clock, memory = os.clock(), collectgarbage("count")
    local ok, result = pcall(work)
    local measured = {
        operation = operation,
        success = ok,
        duration_seconds = os.clock() - clock,
        memory_delta_kb = collectgarbage("count") - memory,
        timestamp = os.time()
    }
    Artifact.store(session, "system_generated", "metrics/" .. operation .. ".json", JSON.stringify(measured), {
        tags = {"metrics"}, operation = operation, success = ok
    })
    if not ok then error(result, 0) end
    return result
end

local function hash(session, algorithm, content)
    local made = Tool.execute("hash-calculator", {operation = "hash", algorithm = algorithm, input = content})
    if not made.success then error(made.error, 0) end
    Artifact.store(session, "tool_result", algorithm .. ".txt", made.result)
    return made.result
end

local session = Session.create({name = "Hashing " .. (path:match("[^/]+$") or path), tags = {"performance"}})
local ok, why = pcall(function()
    local content = track(session, "read", function()
        local file <close> = assert(io.open(path, "rb"))
        return file:read("a")
    end)
    for _, algorithm in ipairs({"blake3", "sha256", "sha1", "md5"}) do
        track(session, algorithm, function() return hash(session, algorithm, content) end)
    end
end)
if not ok then
    Session.fail(session, tostring(why))
    error(why, 0)
end
Session.complete(session)

for _, metric in ipairs(Artifact.query({session_id = session, tags = {"metrics"}})) do
    local measured = JSON.parse(Artifact.get(session, metric.id).content)
    print(("%-7s %9.6f s"):format(measured.operation, measured.duration_seconds))
end
