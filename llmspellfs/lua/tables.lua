-- Tables that JSON can tell apart by their marks, and tables that answer from another one.
-- host: what the files of this folder share; nothing of it is left within a script's reach.
local host = ...

local setmetatable = setmetatable
local format, rawget, rawequal = string.format, rawget, rawequal

-- By table its mark. It is kept beside the tables: in a metatable a script could change it, for all tables at once.
local marks = setmetatable({}, { __mode = "k" })

local NULL = setmetatable({}, {
  __name = "JSON null",
  __tostring = function() return "null" end,
  __newindex = function() error("JSON.null cannot be changed", 2) end,
  __metatable = false,
})

host.null = NULL

-- Gives the mark of a table, and its address, which tells a table that contains itself.
function host.look(t)
  return rawequal(t, NULL) and "null" or marks[t], format("%p", t)
end

local function marked(t, mark)
  marks[t] = mark
  return t
end

function host.as_array(t) return marked(t, "array") end
function host.as_object(t) return marked(t, "object") end

-- Lets `fields` answer from `custom` for each key that is not one of `names`.
function host.fall_through(fields, custom, names)
  return setmetatable(fields, {
    __index = function(_, key)
      if rawget(names, key) == nil then return custom[key] end
    end,
  })
end
