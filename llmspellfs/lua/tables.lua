-- Tables that JSON can tell apart, and tables that answer from another one.
-- host: what the files of this folder share; nothing of it is left within a script's reach.
local host = ...

local getmetatable, setmetatable = debug.getmetatable, setmetatable
local format, rawget = string.format, rawget

local ARRAY, OBJECT = { __name = "JSON array" }, { __name = "JSON object" }
local NULL = setmetatable({}, {
  __name = "JSON null",
  __tostring = function() return "null" end,
  __newindex = function() error("JSON.null cannot be changed", 2) end,
  __metatable = false,
})

host.null = NULL
host.kind = type

-- Gives the marker of a table, and its address, which tells a table that contains itself.
function host.look(t)
  local meta = getmetatable(t)
  local mark = t == NULL and "null" or meta == ARRAY and "array" or meta == OBJECT and "object" or nil
  return mark, format("%p", t)
end

function host.as_array(t) return setmetatable(t, ARRAY) end
function host.as_object(t) return setmetatable(t, OBJECT) end

-- Lets `fields` answer from `custom` for each key that is not one of `names`.
function host.fall_through(fields, custom, names)
  return setmetatable(fields, {
    __index = function(_, key)
      if rawget(names, key) == nil then return custom[key] end
    end,
  })
end
