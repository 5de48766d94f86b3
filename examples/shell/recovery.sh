#!/usr/bin/env bash
# Recovering a failed session: see what went wrong, go back to the last checkpoint, mend what was wrong, and go on; what
# failed stays as it was. The lines below are shown as they run.
. "$(dirname "$0")/stage.sh"
set -v

# A script works in steps, and saves the session after the first. Its second step has a mistake in it.
cat > moons.lua <<'LUA'
local ok, why = pcall(function()
    if not Artifact.exists("", "rows.json") then
        local text = Artifact.get("", "planets.csv").content
        local rows = Tool.execute("csv-analyzer", {operation = "parse", input = text}).result
        Artifact.store("", "tool_result", "rows.json", JSON.stringify(rows))
        Session.save("", "rows are read")
    end
    Artifact.store("", "tool_result", "moons.txt", "not counted yet")
    local moons = 0
    for _, row in ipairs(JSON.parse(Artifact.get("", "rows.json").content)) do moons = moons + row.moon end
    Artifact.store("", "agent_output", "moons.txt", moons .. " moons\n")
end)
if ok then return Session.complete("") end
Session.fail("", why)
error(why, 0)
LUA
llmspellfs session create moons
llmspellfs artifact put moons "$examples/data/planets.csv"
llmspellfs run --session moons moons.lua && exit 1 || echo "exit status $?"

# The session is failed, says why, and is frozen: nothing hides what happened.
cat mnt/sessions/moons/.session/status
llmspellfs session show moons --json | jq -r .failure_reason
llmspellfs session timeline moons
cat mnt/sessions/moons/moons.txt; echo

# What was there at the checkpoint, and what has come since.
llmspellfs session checkpoints moons
llmspellfs session diff moons@c1 --stat

# A new session begins with what was there then. Its content is shared, not copied.
llmspellfs session fork moons@c1 moons-again
test ! -e mnt/sessions/moons-again/moons.txt

# The mistake is mended, and the script goes on where it had been: the rows are there already.
sed -i 's/row\.moon end/row.moons end/' moons.lua
llmspellfs run --session moons-again moons.lua
cat mnt/sessions/moons-again/moons.txt
cat mnt/sessions/moons-again/.session/status

# Where did that come from?
llmspellfs artifact lineage moons-again:moons.txt

# And is what both trails tell what the store holds? Every event is done again and compared; nothing is stored.
llmspellfs session replay moons --mode simulate
llmspellfs session replay moons-again --mode simulate
llmspellfs verify
