-- Hierarchy: one session for the whole task, and a child for each part of it. The task is to count the lines and words
-- of some files; a part that fails does not take the others with it.
--
--   llmspellfs run examples/lua/hierarchy.lua FILE...

local function base(path) return path:match("[^/]+$") or path end

local function count(child, path)
    Artifact.storeFile(child, path, "user_input")
    local text = Artifact.get(child, base(path)).content
    local lines, words = select(2, text:gsub("\n", "")), select(2, text:gsub("%S+", ""))
    Artifact.store(child, "tool_result", "counts.json", JSON.stringify({lines = lines, words = words}))
    return {lines = lines, words = words}
end

local function count_all(parent, paths)
    local total = {lines = 0, words = 0}
    for _, path in ipairs(paths) do
        local child = Session.create({name = "Count " .. base(path), parent_session_id = parent})
        local ok, counts = pcall(count, child, path)
        if ok then
            total.lines, total.words = total.lines + counts.lines, total.words + counts.words
            Session.complete(child)
        else
            Session.fail(child, tostring(counts))
        end
    end
    return total
end

local function print_tree(id, indent)
    local session = Session.get(id)
    print(("%s%s: %s, %d artifacts"):format(indent, session.name, session.status, session.artifact_count))
    for _, child in ipairs(Session.children(id)) do print_tree(child.id, indent .. "    ") end
end

if #arg == 0 then
    io.stderr:write("usage: hierarchy.lua FILE...\n")
    os.exit(2)
end
local parent = Session.create({name = "Count " .. #arg .. " files", tags = {"counting"}})
local total = count_all(parent, arg)
Artifact.store(parent, "agent_output", "total.json", JSON.stringify(total), {tags = {"final"}})
Session.complete(parent)

print_tree(parent, "")
print(("%d lines, %d words"):format(total.lines, total.words))
