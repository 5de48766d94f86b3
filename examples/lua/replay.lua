-- Replay and recovery: what a session's trail tells is done again and compared with what is stored; then the session is
-- rebuilt as it was at its last checkpoint, as a new one in which work can go on.
--
--   llmspellfs run examples/lua/replay.lua SESSION

if #arg ~= 1 then
    io.stderr:write("usage: replay.lua SESSION\n")
    os.exit(2)
end
local session, why = Session.get(arg[1])
if not session then error(why, 0) end

local can, reason = Session.canReplay(session.id)
if not can then error(reason, 0) end

local function show(result)
    for _, mismatch in ipairs(result.mismatches) do
        print(("  %s: expected %s, got %s"):format(mismatch.what, mismatch.expected, mismatch.got))
    end
    print(("%s: %d events, %d mismatches"):format(result.mode, result.events, #result.mismatches))
    return result.success
end

-- Is all of it what was recorded? Nothing is stored for that.
local is_sound = show(Session.replay(session.id, {mode = "simulate"}))

local checkpoints = Session.checkpoints(session.id)
local last = checkpoints[#checkpoints]
if not last then
    print("no checkpoint to go back to")
    os.exit(is_sound and 0 or 1)
end

print("since checkpoint " .. last.number .. ":")
for _, change in ipairs(Session.diff(session.id, {from = "c" .. last.number}).changes) do
    print("  " .. change.kind .. " " .. change.path)
end

local rebuilt = Session.replay(session.id, {
    mode = "exact",
    to = last.seq,
    name = session.name .. " recovered",
    on_progress = function(step) print(("  %d %s %s"):format(step.seq, step.kind, step.name or "")) end
})
if not show(rebuilt) then os.exit(1) end
print(rebuilt.new_session_id)
