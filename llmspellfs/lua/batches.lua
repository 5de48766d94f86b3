-- The items of a batch of artifacts as flat values, many at a time: to cross each table takes three times as long.
-- Only what stands in the tables themselves counts; no metamethod is called.
local host = ...

local next, rawget, type, unpack, tostring = next, rawget, type, table.unpack, tostring
local format = string.format
local KNOWN = { type = true, artifact_type = true, name = true, content = true, metadata = true, true, true, true, true }

-- Gives how many items the list `items` has; nil where its keys are not 1, 2, 3…
function host.count(items)
  local count = 0
  for _ in next, items do count = count + 1 end
  for place = 1, count do
    if rawget(items, place) == nil then return nil end
  end
  return count
end

local function field(item, name, place)
  local value = rawget(item, name)
  if value == nil then return rawget(item, place) end
  return value
end

-- Gives true, and of the items from `first` to `last` the type, name, content and metadata, each by its name or its
-- place; or false, which item is bad, and why.
function host.rows(items, first, last)
  local values, count = {}, 0
  for place = first, last do
    local item = rawget(items, place)
    if type(item) ~= "table" then return false, place, format("expected a table, got %s", type(item)) end
    for key in next, item do
      if not KNOWN[key] then
        return false, place, format("unknown key %s; expected type, name, content, metadata", tostring(key))
      end
    end
    local kind = rawget(item, "artifact_type")
    if kind == nil then kind = field(item, "type", 1) end
    values[count + 1], values[count + 2] = kind, field(item, "name", 2)
    values[count + 3], values[count + 4] = field(item, "content", 3), field(item, "metadata", 4)
    count = count + 4
  end
  return true, unpack(values, 1, count)
end
