-- What a console needs of Lua: whether code is whole, results as people read them, names to complete, and a place at
-- which an interrupt reaches a script that runs.
local host, tick, EVERY, KEYWORDS = ...

local print, load, type, tostring, next, rawget = print, load, type, tostring, next, rawget
local getmetatable, sethook, select, error = debug.getmetatable, debug.sethook, select, error
local rep, format, sort, concat, math_type = string.rep, string.format, table.sort, table.concat, math.type
local gsub, match, sub, find = string.gsub, string.match, string.sub, string.find

local WIDTH, DEPTH, MOST = 76, 6, 200

-- Tells whether `code` compiles, and if not, whether more of it could make it.
function host.compiles(code)
  local chunk, why = load(code, "=stdin", "t")
  if chunk then return true, false end
  return false, find(why, "<eof>$") ~= nil
end

-- Results

local function quoted(text)
  return (gsub(gsub(format("%q", text), "\\\n", "\\n"), "\r", "\\r"))
end

local function rank(key)
  return math_type(key) and 1 or type(key) == "string" and 2 or 3
end

local function before(a, b)
  local x, y = rank(a), rank(b)
  if x ~= y then return x < y end
  if x == 3 then return tostring(a) < tostring(b) end
  return a < b
end

local shown

local function entry(key, value, place, depth, above)
  local text = shown(value, depth + 1, above)
  if key == place then return text end
  if type(key) == "string" and match(key, "^[%a_][%w_]*$") and not KEYWORDS[key] then return key .. " = " .. text end
  return "[" .. shown(key, DEPTH, above) .. "] = " .. text
end

local function entries(t, depth, above)
  local keys, parts = {}, {}
  for key in next, t do keys[#keys + 1] = key end
  sort(keys, before)
  for place, key in next, keys do
    if place > MOST then
      parts[place] = format("-- and %d more", #keys - MOST)
      break
    end
    parts[place] = entry(key, rawget(t, key), place, depth, above)
  end
  return parts
end

local function listed(t, depth, above)
  if above[t] then return "<above>" end
  if depth >= DEPTH then return next(t) == nil and "{}" or "{ … }" end
  above[t] = true
  local parts = entries(t, depth, above)
  above[t] = nil
  if #parts == 0 then return "{}" end
  local line = "{ " .. concat(parts, ", ") .. " }"
  if #line + 2 * depth <= WIDTH and not find(line, "\n") and #parts <= MOST then return line end
  local indent = rep("  ", depth + 1)
  return "{\n" .. indent .. concat(parts, ",\n" .. indent) .. "\n" .. rep("  ", depth) .. "}"
end

function shown(value, depth, above)
  if type(value) == "string" then return quoted(value) end
  local meta = getmetatable(value)
  if type(value) ~= "table" or (meta and rawget(meta, "__tostring")) then return tostring(value) end
  return listed(value, depth, above)
end

-- Prints the results of a line, a line each; text as it is.
function host.show(...)
  for place = 1, select("#", ...) do
    local value = select(place, ...)
    print(type(value) == "string" and value or shown(value, 0, {}))
  end
end

-- Names

local function fields(t, found)
  for _ = 1, 8 do
    if type(t) ~= "table" then return end
    for key in next, t do
      if type(key) == "string" then found[key] = true end
    end
    local meta = getmetatable(t)
    t = meta and rawget(meta, "__index")
  end
end

local function reached(path)
  local at = _G
  for name in string.gmatch(path, "[^.:]+") do
    if type(at) == "string" then at = string end
    if type(at) ~= "table" then return nil end
    at = rawget(at, name)
  end
  if type(at) == "string" then return string end
  return at
end

-- Gives the names that what is before the cursor, such as `Session.cr`, could become; nothing is called for it.
function host.complete(path)
  local above, start = match(path, "^(.*[.:])([^.:]*)$")
  local found, names = {}, {}
  fields(reached(above or ""), found)
  if not above then
    start = path
    for word in next, KEYWORDS do found[word] = true end
  end
  for name in next, found do
    if sub(name, 1, #start) == start and match(name, "^[%a_][%w_]*$") then names[#names + 1] = name end
  end
  sort(names)
  return concat(names, "\n")
end

-- Interrupts

local hear = host.checked(tick)

local create, resume, running = coroutine.create, coroutine.resume, coroutine.running
local function hook() hear() end

function host.listen() sethook(running(), hook, "", EVERY) end

function coroutine.create(f)
  local thread = create(f)
  sethook(thread, hook, "", EVERY)
  return thread
end

local function passed(ok, ...)
  if ok then return ... end
  error((...), 0)
end

function coroutine.wrap(f)
  local thread = coroutine.create(f)
  return function(...) return passed(resume(thread, ...)) end
end
