-- Cleanup with a retention policy. Sessions that ended long ago are deleted, whole; those tagged `hold` stay.
--
--   llmspellfs run examples/lua/cleanup.lua             # says what would go
--   llmspellfs run examples/lua/cleanup.lua --delete    # deletes it
--
-- While history is kept, `llmspellfs session restore` brings a deleted session back; `llmspellfs gc` frees the space of
-- what is older.

local DAY = 24 * 60 * 60
local policy = {
    {status = "completed", days = 30},
    {status = "failed", days = 90}
}

local is_meant = arg[1] == "--delete"
if #arg > 1 or (arg[1] and not is_meant) then
    io.stderr:write("usage: cleanup.lua [--delete]\n")
    os.exit(2)
end
local sessions, bytes = 0, 0

for _, rule in ipairs(policy) do
    local old = Session.list({
        query = "-tag:hold", status = rule.status, updated_before = os.time() - rule.days * DAY
    })
    for _, session in ipairs(old) do
        print(("%s: %s, %d artifacts, last changed %s"):format(
            session.name, session.status, session.artifact_count, session.updated_at:sub(1, 10)))
        if is_meant then Session.delete(session.id) end
        sessions, bytes = sessions + 1, bytes + session.total_artifact_size
    end
end

print(("%s %d sessions, %d bytes"):format(is_meant and "deleted" or "would delete", sessions, bytes))
