-- How a script ends early, past every pcall, and what of the host it must not reach through `debug`.
local host = ...

local raw_pcall, raw_xpcall, resume, error = pcall, xpcall, coroutine.resume, error
-- All that is called later is a local: a script may have replaced the globals by then.
local getmetatable, type, tostring, load, rawequal = debug.getmetatable, type, tostring, load, rawequal
local getinfo, traceback = debug.getinfo, debug.traceback
local pack, unpack = table.pack, table.unpack
local SELF = getinfo(1, "S").source

-- The error value that ends a script.
local LEAVE = setmetatable({}, { __tostring = function() return "the script is ending" end, __metatable = false })

-- Python's objects are the only userdata here that are not Lua's own files.
local function foreign(value)
  if type(value) ~= "userdata" then return false end
  local meta = getmetatable(value)
  return not meta or meta.__name ~= "FILE*"
end

local function ending(value) return rawequal(value, LEAVE) or foreign(value) end

local function settle(ok, value, ...)
  if not ok and ending(value) then error(value, 0) end
  return ok, value, ...
end

function pcall(...)
  return settle(raw_pcall(...))
end

function xpcall(f, handler, ...)
  local function handle(value, ...)
    if ending(value) then return value end
    return handler(value, ...)
  end
  return settle(raw_xpcall(f, handler and handle, ...))
end

function coroutine.resume(...)
  return settle(resume(...))
end

function host.leave() error(LEAVE, 0) end

-- Raises `message` with the place in the script that made the call: the first frame that is not of this folder, nor C
-- (so that a function handed to pcall directly still says where).
function host.fail(message)
  local level, info = 2, nil
  repeat
    info, level = getinfo(level, "Sl"), level + 1
  until not info or (info.currentline > 0 and info.source ~= SELF)
  error(info and ("%s:%d: %s"):format(info.short_src, info.currentline, message) or message, 0)
end

local function described(value)
  if type(value) == "string" or type(value) == "number" then return tostring(value) end
  local meta = getmetatable(value)
  if meta and meta.__tostring then return tostring(value) end
  return ("(error object is a %s value)"):format(type(value))
end

-- Runs `code`: true; nil when it is leaving early; or false, the message and the traceback. What it returns goes to
-- host.show, where there is one.
function host.run(code, name, ...)
  local chunk, why = load(code, name, "t")
  if not chunk then return false, why, "" end
  local trace = ""
  local function handle(value)
    if ending(value) then return value end
    local text = described(value)
    trace = traceback(text, 2):gsub("\n[^\n]*%[llmspellfs%]:[^\n]*", ""):gsub("\n[^\n]*'raw_xpcall'[^\n]*", "")
    return text
  end
  local results = pack(raw_xpcall(chunk, handle, ...))
  if results[1] and host.show then results = pack(raw_xpcall(host.show, handle, unpack(results, 2, results.n))) end
  local ok, value = results[1], results[2]
  if ok then return true end
  if ending(value) then return nil, value end
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
