-- Tables that JSON can tell apart, and tables that answer from another one.
-- host: what the files of this folder share; nothing of it is left within a script's reach.
local host = ...

local getmetatable, setmetatable = debug.getmetatable, setmetatable
local format, rawget, rawequal = string.format, rawget, rawequal

local ARRAY, OBJECT = { __name = "JSON array" }, { __name = "JSON object" }
local NULL = setmetatable({}, {
  __name = "JSON null",
  __tostring = function() return "null" end,
  __newindex = function() error("JSON.null cannot be changed", 2) end,
  __metatable = false,
})

host.null = NULL

-- Gives the marker of a table, and its address, which tells a table that contains itself.
function host.look(t)
  local meta = getmetatable(t)
  local mark = nil
  if rawequal(t, NULL) then mark = "null"
  elseif rawequal(meta, ARRAY) then mark = "array"
  elseif rawequal(meta, OBJECT) then mark = "object" end
  return mark, format("%p", t)
end

-- Marks a table, unless it has a metatable that is a script's own.
local function marked(t, mark)
  local meta = getmetatable(t)
  if meta and not rawequal(meta, ARRAY) and not rawequal(meta, OBJECT) then return nil end
  return setmetatable(t, mark)
end

function host.as_array(t) return marked(t, ARRAY) end
function host.as_object(t) return marked(t, OBJECT) end

-- Lets `fields` answer from `custom` for each key that is not one of `names`.
function host.fall_through(fields, custom, names)
  return setmetatable(fields, {
    __index = function(_, key)
      if rawget(names, key) == nil then return custom[key] end
    end,
  })
end
