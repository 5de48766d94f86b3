-- A pipeline with checkpoints. Each step stores what it made and saves the session, so a run that stops, for whatever
-- reason, goes on where it was. The work is Kepler's third law, out of the planets' distances and periods.
--
--   llmspellfs run examples/lua/pipeline.lua examples/data/planets.csv [LAST_STEP]
--
-- After LAST_STEP (validate, transform, analyze, report) the session is suspended; the next run resumes it.

local NAME = "Kepler's third law"
local input, last_step = arg[1], arg[2]

local steps = {}

function steps.validate(session)
    local text = Artifact.get(session, Session.get(session).metadata.input).content
    local read = Tool.execute("csv-analyzer", {operation = "parse", input = text})
    if not read.success then error(read.error, 0) end
    for number, row in ipairs(read.result) do
        if type(row.distance_million_km) ~= "number" or type(row.period_days) ~= "number" then
            error(("row %d has no distance or no period"):format(number), 0)
        end
    end
    return read.result
end

-- Kilometres and days become astronomical units and years: the Earth is 1 in both.
function steps.transform(_, rows)
    for _, row in ipairs(rows) do
        row.au, row.years = row.distance_million_km / 149.6, row.period_days / 365.2
    end
    return rows
end

-- Kepler: the square of the period is to the cube of the distance as 1 is to 1.
function steps.analyze(_, rows)
    local worst = 0
    for _, row in ipairs(rows) do
        row.ratio = row.years ^ 2 / row.au ^ 3
        worst = math.max(worst, math.abs(row.ratio - 1))
    end
    return {rows = rows, worst = worst}
end

function steps.report(session, found)
    local lines = {}
    for _, row in ipairs(found.rows) do
        table.insert(lines, ("%-8s %7.3f AU %8.3f years  %.4f"):format(row.planet, row.au, row.years, row.ratio))
    end
    local text = table.concat(lines, "\n") .. "\n"
    Artifact.store(session, "agent_output", "report.txt", text, {tags = {"final"}})
    return {lines = #lines}
end

-- The session that a run before this one left suspended, or a new one.
local function open_session()
    local left = Session.list({status = "suspended", name_pattern = NAME, limit = 1})[1]
    if left then return Session.load(left.id) end
    local file_name = input:match("[^/]+$") or input
    return Session.create({name = NAME, tags = {"pipeline"}, metadata = {input = file_name}})
end

local function run(session)
    local result
    if not Artifact.exists(session, Session.get(session).metadata.input) then
        Artifact.storeFile(session, input, "user_input")
    end
    for number, step in ipairs({"validate", "transform", "analyze", "report"}) do
        local name = ("steps/%d-%s.json"):format(number, step)
        if Artifact.exists(session, name) then
            result = JSON.parse(Artifact.get(session, name).content)
            print(step, "is there already")
        else
            result = steps[step](session, result)
            Artifact.store(session, "system_generated", name, JSON.stringify(result), {tags = {"checkpoint", step}})
            print(step, "checkpoint " .. Session.save(session, step))
        end
        if step == last_step then return false end
    end
    return true
end

if not input or (last_step and not steps[last_step]) then
    io.stderr:write("usage: pipeline.lua FILE.csv [validate | transform | analyze | report]\n")
    os.exit(2)
end
local session = open_session()
local ok, done = pcall(run, session)
if not ok then
    Session.fail(session, tostring(done))
    error(done, 0)
end
if not done then return Session.suspend(session) end
Session.complete(session)
io.write(Artifact.get(session, "report.txt").content)
