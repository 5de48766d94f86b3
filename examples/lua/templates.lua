-- Session templates: sessions of a kind start alike, with the same tags, metadata and first files.
--
--   llmspellfs run examples/lua/templates.lua measurement "boiling point" unit=celsius
--
-- The words after the name, KEY=VALUE, go into the session's metadata and fill in the files.

local templates = {
    measurement = {
        tags = {"measurement"},
        metadata = {repeats = 3, unit = "kelvin"},
        files = {
            ["plan.md"] = "# {{ name }}\n\nMeasure {{ repeats }} times, in {{ unit }}.\n",
            ["readings.csv"] = "number,{{ unit }}\n{% for n in range(repeats | int) %}{{ n + 1 }},\n{% endfor %}"
        }
    },
    comparison = {
        tags = {"comparison", "automated"},
        metadata = {before = "HEAD~1", after = "HEAD"},
        files = {["question.md"] = "What is different between {{ before }} and {{ after }}?\n"}
    }
}

-- What the template says, and over it what was asked for.
local function filled(defaults, asked)
    local metadata = {}
    for key, value in pairs(defaults) do metadata[key] = value end
    for key, value in pairs(asked) do metadata[key] = value end
    return metadata
end

local function create_from_template(kind, name, asked)
    local template = templates[kind] or error("no such template: " .. kind, 0)
    local metadata, files = filled(template.metadata, asked), {}
    for file, text in pairs(template.files) do
        local made = Tool.execute("template-engine", {template = text, variables = filled(metadata, {name = name})})
        if not made.success then error(made.error, 0) end
        table.insert(files, {type = "system_generated", name = file, content = made.result})
    end
    local session = Session.create({name = name, tags = template.tags, metadata = metadata})
    Session.addTag(session, "template:" .. kind)
    Artifact.storeMany(session, files)
    return session
end

local function usage()
    io.stderr:write("usage: templates.lua measurement|comparison NAME [KEY=VALUE...]\n")
    os.exit(2)
end

if #arg < 2 then usage() end
local asked = {}
for _, word in ipairs({select(3, ...)}) do
    local key, value = word:match("^([%w_]+)=(.*)$")
    if not key then usage() end
    asked[key] = tonumber(value) or value
end

print(create_from_template(arg[1], arg[2], asked))
