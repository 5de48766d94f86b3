-- What is left of Lua and of the API for a script that is not trusted. Loaded last; only what is named here stays.
local host = ...

local fail, next, type, error = host.fail, next, type, error
local collectgarbage = collectgarbage

local function only(t, names)
  local kept = {}
  for name in names:gmatch("%S+") do kept[name] = true end
  for name in next, t do
    if not kept[name] then t[name] = nil end
  end
end

-- No metatable of strings: its functions are the host's too.
debug.getmetatable("").__metatable = false

-- Nothing that would have garbage pile up.
local function collect(option)
  if option ~= nil and option ~= "count" and option ~= "collect" then
    error("collectgarbage does only 'count' and 'collect' in a sandbox", 2)
  end
  return collectgarbage(option)
end

local function refused(name)
  return function() fail(name .. ": files of the host are out of reach in a sandbox") end
end

for name, names in next, { storeFile = "store_file storeFile", saveToFile = "save_to_file saveToFile" } do
  for spelling in names:gmatch("%S+") do Artifact[spelling] = refused("Artifact." .. name) end
end

only(os, "clock date difftime exit time")
only(string, "byte char find format gmatch gsub len lower match pack packsize rep reverse sub unpack upper")
only(coroutine, "close create isyieldable resume running status wrap yield")
only(_G, [[
  _G _VERSION assert collectgarbage error getmetatable ipairs next pairs pcall print rawequal rawget rawlen rawset select
  setmetatable tonumber tostring type xpcall arg
  coroutine math os string table utf8
  Session Artifact Tool JSON json State Event Hook
]])
_G.collectgarbage = collect
