-- Artifact ids that answer for their parts, and times that compare with and subtract from numbers. Both are plain
-- strings; every other string behaves as Lua's own, and fails with Lua's own messages.

local meta = debug.getmetatable("")
local getmetatable, library = debug.getmetatable, string
local match, find, tonumber, type, error = string.match, string.find, tonumber, type, error

local HEX4 = ("%x"):rep(4)
local UUID = (HEX4 .. HEX4 .. "-" .. HEX4 .. "-" .. HEX4 .. "-" .. HEX4 .. "-" .. HEX4 .. HEX4 .. HEX4)
local ID = "^(" .. UUID:gsub("%-", "%%-") .. ")/(%d+)/(" .. ("%x"):rep(64) .. ")$"
local TIME = "^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):(%d%d):(%d%d%.?%d*)Z$"

local PARTS = {
  session_id = function(id) return (match(id, ID)) end,
  sequence = function(id) return tonumber((select(2, match(id, ID)))) end,
  content_hash = function(id) return (select(3, match(id, ID))) end,
}

function meta.__index(text, key)
  local method = library[key]
  if method ~= nil then return method end
  local part = PARTS[key]
  if part and find(text, ID) then return part(text) end
end

-- Seconds since the epoch of a time such as 2026-11-21T19:26:43.120394Z; nil for any other string.
local function epoch(text)
  local year, month, day, hour, minute, second = match(text, TIME)
  if not year then return nil end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
  if month < 1 or month > 12 or day < 1 or day > 31 or hour > 23 or minute > 59 or second >= 61 then return nil end
  -- Days from the civil calendar, with the year beginning in March: https://howardhinnant.github.io/date_algorithms.html
  if month <= 2 then year, month = year - 1, month + 12 end
  local era = year // 400
  local of_era = year - era * 400
  local of_year = (153 * (month - 3) + 2) // 5 + day - 1
  local days = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
  return days * 86400 + hour * 3600 + minute * 60 + second
end

-- The metamethod of the operand that is no string, if it has one: it would have been called had strings none.
local function others(a, b, event)
  local other = type(a) == "string" and b or a
  local its = type(other) ~= "string" and getmetatable(other)
  return its and rawget(its, event)
end

local function comparing(event, compare)
  meta[event] = function(a, b)
    local x = type(a) == "string" and epoch(a) or a
    local y = type(b) == "string" and epoch(b) or b
    if type(x) == "number" and type(y) == "number" then return compare(x, y) end
    local method = others(a, b, event)
    if method then return method(a, b) end
    error(("attempt to compare %s with %s"):format(type(a), type(b)), 2)
  end
end

comparing("__lt", function(x, y) return x < y end)
comparing("__le", function(x, y) return x <= y end)

local function number(value)
  if type(value) == "string" then return epoch(value) or tonumber(value) end
  return type(value) == "number" and value or nil
end

function meta.__sub(a, b)
  local x, y = number(a), number(b)
  if x and y then return x - y end
  local method = others(a, b, "__sub")
  if method then return method(a, b) end
  error(("attempt to perform arithmetic on a %s value"):format(type(x and b or a)), 2)
end
