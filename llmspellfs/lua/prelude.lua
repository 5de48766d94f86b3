-- The globals of the API: tables of functions, each under both spellings, that raise what the host answers as errors.
local host = ...

local leave, fail = host.leave, host.fail

local function finish(ok, ...)
  if ok then return ... end
  if ok == nil then leave() end
  fail((...))
end

local error, rawequal, format, is_over = error, rawequal, string.format, false

-- A function of the host, which answers how it went and what came of it, as a function of Lua.
function host.checked(f)
  return function(...)
    if is_over then error("the script has ended", 0) end
    return finish(f(...))
  end
end

-- From here on nothing calls the host: what a finalizer does while the process ends would find it half gone.
function host.over() is_over = true end

-- A function of `module` that was called with a colon says so, rather than that the module is no session or no table.
local function dotted(f, module, name)
  return function(...)
    if rawequal((...), module) then fail(format("%s: expected a call with a dot, got one with a colon", name)) end
    return f(...)
  end
end

-- Gives the functions, named with underscores, and again in camel case; `title` is the module's own name.
function host.module(functions, title)
  local module = {}
  for name, f in pairs(functions) do
    local camel = name:gsub("_(%l)", string.upper)
    local checked = dotted(host.checked(f), module, title .. "." .. camel)
    module[name], module[camel] = checked, checked
  end
  return module
end
