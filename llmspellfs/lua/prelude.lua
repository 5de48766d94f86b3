-- The globals of the API: tables of functions, each under both spellings, that raise what the host answers as errors.
local host = ...

local leave, fail = host.leave, host.fail

local function finish(ok, ...)
  if ok then return ... end
  if ok == nil then leave() end
  fail((...))
end

local error, is_over = error, false

-- A function of the host, which answers how it went and what came of it, as a function of Lua.
function host.checked(f)
  return function(...)
    if is_over then error("the script has ended", 0) end
    return finish(f(...))
  end
end

-- From here on nothing calls the host: what a finalizer does while the process ends would find it half gone.
function host.over() is_over = true end

-- Gives the functions, named with underscores, and again in camel case.
function host.module(functions)
  local module = {}
  for name, f in pairs(functions) do
    local checked = host.checked(f)
    module[name] = checked
    module[name:gsub("_(%l)", string.upper)] = checked
  end
  return module
end
