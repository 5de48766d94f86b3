-- How a script ends early, past every pcall, and what of the host it must not reach through `debug`.
local host = ...

local raw_pcall, raw_xpcall, raw_load, resume, close = pcall, xpcall, load, coroutine.resume, coroutine.close
-- All that is called later is a local: a script may have replaced the globals by then.
local getmetatable, type, tostring, select, error = debug.getmetatable, type, tostring, select, error
local getinfo, traceback = debug.getinfo, debug.traceback
local pack, unpack, format, gsub = table.pack, table.unpack, string.format, string.gsub
local SELF = getinfo(1, "S").source

-- What a script sees of its ending, should it look: a string, since nothing of the host may be within its reach.
local LEAVE = "the script is ending"

-- How often the script was told to end, and with what error value. The value alone does not say it: what is closed on
-- the way out may raise another one, and a finalizer's is dropped.
local ends, last = 0, nil

-- Python's objects are the only userdata here that are not Lua's own files.
local function foreign(value)
  if type(value) ~= "userdata" then return false end
  local meta = getmetatable(value)
  return not meta or meta.__name ~= "FILE*"
end

-- Whether the script has to end: it was told to since `ends` was `was`, or `value`, which was raised, says so.
local function ending(was, value)
  if foreign(value) then ends, last = ends + 1, value end
  return ends ~= was
end

-- Gives what a protected call gave, unless the script has to end.
local function settle(was, ok, ...)
  if ends ~= was or not ok and ending(was, (...)) then error(last, 0) end
  return ok, ...
end

-- How Lua names the type of an argument in its messages.
local function kind(place, ...)
  return select("#", ...) < place and "no value" or type((select(place, ...)))
end

local function refuse(name, place, why)
  error(format("bad argument #%d to '%s' (%s)", place, name, why), 3)
end

function pcall(...)
  if select("#", ...) == 0 then refuse("pcall", 1, "value expected") end
  return settle(ends, raw_pcall(...))
end

function xpcall(...)
  local f, handler = ...
  if type(handler) ~= "function" then refuse("xpcall", 2, "function expected, got " .. kind(2, ...)) end
  local was = ends
  local function handle(value, ...)
    if ending(was, value) then return value end
    return handler(value, ...)
  end
  return settle(was, raw_xpcall(f, handle, select(3, ...)))
end

function coroutine.resume(...)
  if kind(1, ...) ~= "thread" then refuse("resume", 1, "thread expected, got " .. kind(1, ...)) end
  return settle(ends, resume(...))
end

-- Gives what `name` of Lua gave, or raises what it raised as if the script had called it: only of wrong arguments.
local function given(was, name, done, ...)
  if not done then error((gsub((...), "to '%?'", "to '" .. name .. "'")), 2) end
  return settle(was, ...)
end

function coroutine.close(...)
  return given(ends, "close", raw_pcall(close, ...))
end

-- The function that gives the pieces of a chunk is called within a protected call too.
function load(...)
  return given(ends, "load", raw_pcall(raw_load, ...))
end

function host.leave()
  ends, last = ends + 1, LEAVE
  error(LEAVE, 0)
end

-- Raises `message` with the place in the script that made the call: the first frame that is not of this folder, nor C
-- (so that a function handed to pcall directly still says where).
function host.fail(message)
  local level, info = 2, nil
  repeat
    info, level = getinfo(level, "Sl"), level + 1
  until not info or (info.currentline > 0 and info.source ~= SELF)
  error(info and format("%s:%d: %s", info.short_src, info.currentline, message) or message, 0)
end

local function described(value)
  if type(value) == "string" or type(value) == "number" then return tostring(value) end
  local meta = getmetatable(value)
  if meta and meta.__tostring then return tostring(value) end
  return format("(error object is a %s value)", type(value))
end

-- Runs `code`: true; nil when it is leaving early; or false, the message and the traceback. What it returns goes to
-- host.show, where there is one.
function host.run(code, name, ...)
  ends = 0
  local chunk, why = raw_load(code, name, "t")
  if not chunk then return false, why, "" end
  local trace = ""
  local function handle(value)
    if ending(0, value) then return value end
    local text = described(value)
    trace = gsub(gsub(traceback(text, 2), "\n[^\n]*%[llmspellfs%]:[^\n]*", ""), "\n[^\n]*'raw_xpcall'[^\n]*", "")
    return text
  end
  local results = pack(raw_xpcall(chunk, handle, ...))
  if results[1] and host.show then results = pack(raw_xpcall(host.show, handle, unpack(results, 2, results.n))) end
  local ok, value = results[1], results[2]
  if ends > 0 then return nil, last end
  if ok then return true end
  return false, tostring(value), trace
end

-- `debug` without what would hand out the host's upvalues, locals or the registry.
local function hidden(value)
  if foreign(value) then return nil end
  return value
end

local function ours(f)
  return type(f) == "function" and getinfo(f, "S").source == SELF
end

local function at_ours(thread, level)
  local info
  if thread then info = getinfo(thread, level, "S") else info = getinfo(level + 2, "S") end
  return info and info.source == SELF
end

local getupvalue, setupvalue, upvalueid = debug.getupvalue, debug.setupvalue, debug.upvalueid
local upvaluejoin, getlocal, setlocal = debug.upvaluejoin, debug.getlocal, debug.setlocal

function debug.getupvalue(f, i)
  if ours(f) then return nil end
  local name, value = getupvalue(f, i)
  if not name then return end
  return name, hidden(value)
end

function debug.setupvalue(f, i, value)
  if ours(f) then return nil end
  return setupvalue(f, i, value)
end

function debug.upvalueid(f, i)
  if ours(f) then return nil end
  return upvalueid(f, i)
end

function debug.upvaluejoin(f, i, g, j)
  if ours(f) or ours(g) then error("cannot join upvalues of this function", 2) end
  return upvaluejoin(f, i, g, j)
end

function debug.getlocal(thread, level, i)
  if type(thread) ~= "thread" then thread, level, i = nil, thread, level end
  if ours(level) or (type(level) == "number" and at_ours(thread, level)) then return nil end
  local name, value
  if thread then
    name, value = getlocal(thread, level, i)
  else
    name, value = getlocal(type(level) == "number" and level + 1 or level, i)
  end
  if not name then return nil end
  return name, hidden(value)
end

function debug.setlocal(thread, level, i, value)
  if type(thread) ~= "thread" then thread, level, i, value = nil, thread, level, i end
  if type(level) == "number" and at_ours(thread, level) then return nil end
  if thread then return setlocal(thread, level, i, value) end
  local name = setlocal(level + 1, i, value)
  return name
end

debug.getregistry = nil
