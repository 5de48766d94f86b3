-- Retries. A command is run until it succeeds, three times at most; what each attempt printed is an artifact, and the
-- session ends completed or failed as the command did.
--
--   llmspellfs run examples/lua/retries.lua 'curl --fail --silent --show-error https://example.org'

local command, ATTEMPTS, FIRST_WAIT = arg[1], 3, 0.2
if #arg ~= 1 then
    io.stderr:write("usage: retries.lua 'COMMAND'\n")
    os.exit(2)
end

local function attempt(session, number)
    local path = os.tmpname()
    local ok = os.execute(("(%s) > %s 2>&1"):format(command, path)) == true
    local file <close> = assert(io.open(path, "rb"))
    Artifact.store(session, "tool_result", ("attempt-%d.txt"):format(number), file:read("a"), {
        attempt = number, success = ok, tags = {ok and "success" or "error"}
    })
    os.remove(path)
    return ok
end

local session = Session.create({name = "Retries", metadata = {command = command}})
for number = 1, ATTEMPTS do
    if attempt(session, number) then
        Session.complete(session)
        io.write(Artifact.get(session, ("attempt-%d.txt"):format(number)).content)
        os.exit(0)
    end
    print(("attempt %d of %d failed"):format(number, ATTEMPTS))
    if number < ATTEMPTS then os.execute(("sleep %.1f"):format(FIRST_WAIT * 2 ^ (number - 1))) end
end
Session.fail(session, ATTEMPTS .. " attempts failed")
os.exit(1)
