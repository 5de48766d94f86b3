-- Create a session for an analysis task, keep what goes in and what comes out, and mark it complete.
--
--   llmspellfs run examples/lua/complete_workflow.lua [CHART]
--
-- CHART is the picture to keep with the results; without one it is /tmp/chart.png. Where it is not there, the session
-- fails, and says so.

local chart = arg[1] or "/tmp/chart.png"

-- Stands for the real analysis: revenue by region, from figures that are made up.
local function analyze_data()
    local sales = {
        {region = "north", revenue = 120400.50, orders = 310},
        {region = "south", revenue = 98750.25, orders = 287},
        {region = "west", revenue = 143020.00, orders = 402}
    }
    local revenue, orders = 0, 0
    for _, row in ipairs(sales) do
        revenue = revenue + row.revenue
        orders = orders + row.orders
    end
    return {quarter = "Q4 2024", regions = sales, revenue = revenue, orders = orders}
end

-- Create a session for a analysis task
local session_id = Session.create({
    name = "Data Analysis - Q4 2024",
    description = "Quarterly performance analysis",
    tags = {"analysis", "q4-2024", "performance"}
})

-- What goes wrong from here on is the session's end, and its reason
local ok, why = pcall(function()
    -- Set as current session
    Session.setCurrent(session_id)

    -- Store input data
    local input_id = Artifact.store(
        session_id,
        "user_input",
        "requirements.txt",
        "Analyze sales data for Q4 2024...",
        {mime_type = "text/plain"}
    )

    -- Run analysis (hypothetical)
    local results = analyze_data()

    -- Store results
    local result_id = Artifact.store(
        session_id,
        "agent_output",
        "analysis_results.json",
        json.encode(results),
        {
            mime_type = "application/json",
            tags = {"results", "final"}
        }
    )

    -- Store generated chart
    local chart_id = Artifact.storeFile(
        session_id,
        chart,
        "agent_output",
        {
            mime_type = "image/png",
            description = "Q4 sales chart"
        }
    )

    -- Save session for later reference
    Session.save(session_id)

    -- Mark complete
    Session.complete(session_id)
end)
if not ok then
    Session.fail(session_id, tostring(why))
    error(why, 0)
end

print("Analysis complete. Session:", session_id)
