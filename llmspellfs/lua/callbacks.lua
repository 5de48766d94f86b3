-- What calls functions of the script: State.update, Event.receive and hooks. They are called on Lua's side, outside any
-- transaction, so that they may do all that a script may: call the API, raise with their own traceback, yield, end it.
local host, modules, inner, makes, TRIES, DEPTH = ...

local fail, kind_of = host.fail, type
local next, ipairs, pcall, setmetatable, tostring = next, ipairs, pcall, setmetatable, tostring
local select, format = select, string.format
local pack, unpack, insert, remove, running = table.pack, table.unpack, table.insert, table.remove, coroutine.running
local State, Event, Hook = modules.State, modules.Event, modules.Hook

for name, f in next, inner do inner[name] = host.checked(f) end

local function expect_function(value, what)
  if kind_of(value) ~= "function" then fail(format("%s: expected a function, got %s", what, kind_of(value))) end
end

-- State

function State.update(...)
  local scope, key, f = ...
  local at = 3
  if select("#", ...) < 3 or f == nil and kind_of(key) == "function" then scope, key, f, at = nil, scope, key, 2 end
  expect_function(f, format("State.update: argument %d (function)", at))
  local where = at == 2 and { key } or { scope, key }
  for _ = 1, TRIES do
    local value, seen = inner.look(unpack(where, 1, at - 1))
    local new = f(value)
    if inner.swap(seen, new, key, scope) then return new end
  end
  inner.outrun(key)
end

-- Event

local handlers = {}

function Event.subscribe(pattern, f)
  if f ~= nil then expect_function(f, "Event.subscribe: argument 2 (function)") end
  local subscription = inner.subscribe(pattern)
  handlers[subscription] = f
  return subscription
end

function Event.unsubscribe(subscription)
  if subscription ~= nil then handlers[subscription] = nil end
  return inner.unsubscribe(subscription)
end

function Event.receive(subscription, seconds)
  local event, from = inner.receive(subscription, seconds)
  if event == nil then return nil end
  local handler = handlers[from]
  if handler then handler(event) end
  return event, from
end

-- Hook

-- All hooks in the order of their calls; and by phase and kind lists of them, which are never changed, only replaced.
local hooks, at, last = {}, { before = {}, after = {} }, 0

local function arrange()
  at = { before = {}, after = {} }
  for _, hook in ipairs(hooks) do
    for _, point in ipairs(hook.points) do
      local phase, kind = point:match("^(%l+):(.*)$")
      at[phase][kind] = at[phase][kind] or {}
      insert(at[phase][kind], hook)
    end
  end
end

function Hook.register(point, f, priority)
  local points, weight = inner.points(point, priority)
  expect_function(f, "Hook.register: argument 2 (function)")
  last = last + 1
  local place = 1
  while hooks[place] and hooks[place].priority >= weight do place = place + 1 end
  insert(hooks, place, { id = last, point = point, points = points, priority = weight, f = f })
  arrange()
  return last
end

function Hook.unregister(id)
  if id ~= nil and kind_of(id) ~= "number" then
    fail("Hook.unregister: argument 1 (hook): expected a number, got " .. kind_of(id))
  end
  for place, hook in ipairs(hooks) do
    if hook.id == id then
      remove(hooks, place)
      arrange()
      return true
    end
  end
  return false
end

function Hook.list()
  local list = host.as_array({})
  for place, hook in ipairs(hooks) do list[place] = { id = hook.id, point = hook.point, priority = hook.priority } end
  return list
end

-- By coroutine and kind, how many calls that make the kind are under way.
local depths = setmetatable({}, { __mode = "k" })

-- Counts calls that make the kinds of `infos` until the value given is closed.
local function enter(infos)
  local thread = running()
  local depth = depths[thread] or {}
  depths[thread] = depth
  for _, info in ipairs(infos) do
    if (depth[info.kind] or 0) > DEPTH then
      fail(format("%s: hooks of %s have led to it more than %d deep", info.call, info.kind, DEPTH))
    end
  end
  local kinds = {}
  for _, info in ipairs(infos) do kinds[info.kind] = true end
  for kind in next, kinds do depth[kind] = (depth[kind] or 0) + 1 end
  return setmetatable({}, {
    __close = function()
      for kind in next, kinds do depth[kind] = depth[kind] - 1 end
    end,
  })
end

-- Each hook has a table of its own.
local function told(info, phase, result)
  local about = { phase = phase, result = result }
  for key, value in next, info do about[key] = value end
  return about
end

local function before(infos)
  for _, info in ipairs(infos) do
    for _, hook in ipairs(at.before[info.kind] or {}) do hook.f(told(info, "before")) end
  end
end

local function after(infos, result)
  for _, info in ipairs(infos) do
    local its = info.item and kind_of(result) == "table" and result[info.item] or result
    for _, hook in ipairs(at.after[info.kind] or {}) do
      local ok, why = pcall(hook.f, told(info, "after", its))
      if not ok then inner.report("after:" .. info.kind, tostring(why)) end
    end
  end
end

-- The call itself, between its hooks; where it answers nil and a message, nothing has happened.
local function call(name, f, ...)
  local infos = inner.describe(name, ...)
  local counted <close> = enter(infos)
  before(infos)
  local results = pack(f(...))
  if results.n < 2 or results[1] ~= nil then after(infos, results[1]) end
  return unpack(results, 1, results.n)
end

local function is_hooked(kinds)
  for place = 1, #kinds do
    if at.before[kinds[place]] or at.after[kinds[place]] then return true end
  end
  return false
end

local function hooked(name, kinds, f)
  return function(...)
    if is_hooked(kinds) then return call(name, f, ...) end
    return f(...)
  end
end

-- A function has two spellings, and one wrapper.
for name, kinds in next, makes do
  local module, short = name:match("^(%u%l+)%.(.*)$")
  local f = modules[module][short]
  if f then
    local wrapped = hooked(name, kinds, f)
    for key, value in next, modules[module] do
      if value == f then modules[module][key] = wrapped end
    end
  end
end
