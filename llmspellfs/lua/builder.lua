-- Session.builder: gathers the fields of a session, and creates it when they are all there.
local host, Session, read = ...

local setmetatable, ipairs, next, type = setmetatable, ipairs, next, type
local fail, insert = host.fail, table.insert
for name, f in next, read do read[name] = host.checked(f) end

-- By builder what it has gathered; no script reaches it.
local gathered = setmetatable({}, { __mode = "k" })
local Builder = {}
local META = { __index = Builder, __name = "session builder", __metatable = false }

local function fields_of(builder, method)
  local fields = type(builder) == "table" and gathered[builder]
  if not fields then
    fail(("Session.builder:%s: expected a builder, got %s; call it with a colon"):format(method, type(builder)))
  end
  return fields
end

-- Makes a method that takes one argument and gives the builder back.
local function method(name, take)
  local checked = read[name]
  Builder[name] = function(builder, value)
    local fields = fields_of(builder, name)
    take(fields, checked(value))
    return builder
  end
end

local function add_all(fields, tags)
  for _, tag in ipairs(tags) do insert(fields.tags, tag) end
end

method("name", function(fields, name) fields.name = name end)
method("description", function(fields, text) fields.description = text end)
method("tag", function(fields, tag) insert(fields.tags, tag) end)
method("tags", add_all)
method("metadata", function(fields, metadata)
  for key, value in next, metadata do fields.metadata[key] = value end
end)
method("parent", function(fields, session) fields.parent_session_id = session end)

function Builder.build(builder)
  return Session.create(fields_of(builder, "build"))
end

function Session.builder()
  local builder = setmetatable({}, META)
  gathered[builder] = { tags = {}, metadata = {} }
  return builder
end
