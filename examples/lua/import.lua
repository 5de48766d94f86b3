-- Batch import: each row of a CSV file becomes an artifact, all of them in one transaction. A row that cannot be
-- stored refuses the whole file, so there is never half of it.
--
--   llmspellfs run examples/lua/import.lua examples/data/planets.csv
--
-- The first column names the artifact; all columns become its metadata, so that `llmspellfs find meta.moons:1` finds
-- it.

local path = arg[1]
if not path then
    io.stderr:write("usage: import.lua FILE.csv\n")
    os.exit(2)
end

local function read(file_name)
    local file <close> = assert(io.open(file_name, "rb"))
    local parsed = Tool.execute("csv-analyzer", {operation = "parse", input = file:read("a")})
    if not parsed.success then error(parsed.error, 0) end
    return parsed.result
end

local function first_column(file_name)
    return io.lines(file_name)():match("^[^,]*")
end

local session = Session.create({name = "Import of " .. (path:match("[^/]+$") or path), tags = {"import"}})
local ok, ids = pcall(function()
    local key, items = first_column(path), {}
    for number, row in ipairs(read(path)) do
        local name = row[key]
        if type(name) ~= "string" then error(("row %d has no %s"):format(number, key), 0) end
        items[number] = {
            type = "tool_result",
            name = name .. ".json",
            content = JSON.stringify(row),
            metadata = {mime_type = "application/json", tags = {"row"}, custom = row}
        }
    end
    return Artifact.storeMany(session, items)
end)

if not ok then
    Session.fail(session, tostring(ids))
    error(ids, 0)
end
Session.complete(session)
print(("%d rows are in %s"):format(#ids, Session.get(session).name))
