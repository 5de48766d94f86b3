-- What a console needs of Lua: whether code is whole, results as people read them, names to complete, and a place at
-- which an interrupt reaches a script that runs.
local host, tick, escaped, EVERY, KEYWORDS = ...

local print, load, type, tostring, next, rawget = print, load, type, tostring, next, rawget
local getmetatable, sethook, select, error, globals = debug.getmetatable, debug.sethook, select, error, _G
local rep, format, sort, concat, math_type = string.rep, string.format, table.sort, table.concat, math.type
local gsub, match, gmatch, sub, find = string.gsub, string.match, string.gmatch, string.sub, string.find
local library, stdout = string, io.stdout

local WIDTH, DEPTH, MOST = 76, 6, 200
-- Bytes of a string in a table, and entries of all tables of a result.
local LONGEST, ALL = 1000, 4000

-- Tells whether `code` compiles, and if not, whether more of it could make it.
function host.compiles(code)
  local chunk, why = load(code, "=stdin", "t")
  if chunk then return true, false end
  return false, find(why, "<eof>$") ~= nil
end

-- Results

escaped = host.checked(escaped)

-- Gives text in which nothing moves a terminal's cursor but line ends and tabs.
local function visible(text)
  return find(text, "[^\n\t -~]") and escaped(text) or text
end

local function quoted(text)
  local cut, rest = LONGEST, ""
  if #text > cut then
    while cut > LONGEST - 4 and find(sub(text, cut + 1, cut + 1), "[\x80-\xBF]") do cut = cut - 1 end
    text, rest = sub(text, 1, cut), format("… (%d bytes)", #text)
  end
  return visible(gsub(gsub(format("%q", text), "\\\n", "\\n"), "\r", "\\r") .. rest)
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
local left = 0

local function entry(key, value, place, depth, above)
  local text = shown(value, depth + 1, above)
  if key == place then return text end
  if type(key) == "string" and match(key, "^[%a_][%w_]*$") and not KEYWORDS[key] then return key .. " = " .. text end
  return "[" .. shown(key, DEPTH, above) .. "] = " .. text
end

-- Gives the entries of `t`, a text each, and whether they are all.
local function entries(t, depth, above)
  local keys, parts = {}, {}
  for key in next, t do keys[#keys + 1] = key end
  sort(keys, before)
  for place, key in next, keys do
    if place > MOST or left <= 0 then
      parts[place] = format("-- and %d more", #keys - place + 1)
      return parts, false
    end
    left = left - 1
    parts[place] = entry(key, rawget(t, key), place, depth, above)
  end
  return parts, true
end

local function listed(t, depth, above)
  if above[t] then return "<above>" end
  if next(t) == nil then return "{}" end
  if depth >= DEPTH then return "{ … }" end
  above[t] = true
  local parts, are_all = entries(t, depth, above)
  above[t] = nil
  local line = "{ " .. concat(parts, ", ") .. " }"
  if are_all and #line + 2 * depth <= WIDTH and not find(line, "\n") then return line end
  local indent = rep("  ", depth + 1)
  return "{\n" .. indent .. concat(parts, ",\n" .. indent) .. "\n" .. rep("  ", depth) .. "}"
end

function shown(value, depth, above)
  if type(value) == "string" then return quoted(value) end
  if math_type(value) == "float" and value ~= value then return "nan" end
  local meta = getmetatable(value)
  if type(value) ~= "table" or (meta and rawget(meta, "__tostring")) then return visible(tostring(value)) end
  return listed(value, depth, above)
end

local first = 1

-- Prints the results of a piece, a line each; text as it is, where that is visible. That io.write gives the file that it
-- wrote to tells nobody anything.
function host.show(...)
  if select("#", ...) == first and select(first, ...) == stdout then return end
  for place = first, select("#", ...) do
    local value = select(place, ...)
    left = ALL
    print(type(value) == "string" and visible(value) or shown(value, 0, {}))
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
  local at = globals
  for name in gmatch(path, "[^.:]+") do
    if type(at) == "string" then at = library end
    if type(at) ~= "table" then return nil end
    at = rawget(at, name)
  end
  if type(at) == "string" then return library end
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

-- Begins a piece, of whose results those from `place` on are shown.
function host.listen(place)
  first = place
  sethook(running(), hook, "", EVERY)
end

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
