-- Puts the functions of replay into `Session` and `Artifact`; `on_progress` is called here, on Lua's side.
local host, Session, Artifact, functions, lineage, inner = ...

local fail, null, type, next, rawequal, setmetatable = host.fail, host.null, type, next, rawequal, setmetatable

for name, f in next, functions do Session[name] = f end
for name, f in next, lineage do Artifact[name] = f end
local begin, step, stop = host.checked(inner.begin), host.checked(inner.step), host.checked(inner["end"])

-- What `options` has under `name` itself; no metamethod of a script's is called.
local function own(options, name)
  if type(options) ~= "table" or rawequal(options, null) then return nil end
  for key, value in next, options do
    if key == name then return value end
  end
end

function Session.replay(session, options)
  local replay, on_progress = begin(session, options), own(options, "on_progress")
  -- However this function is left: an error of on_progress, too, breaks the replay off.
  local whole <close> = setmetatable({}, { __close = function() stop(replay) end })
  if on_progress ~= nil and type(on_progress) ~= "function" then  -- a coroutine that has not begun passes for one
    fail(("Session.replay: argument 2 (options).on_progress: expected a function, got %s"):format(type(on_progress)))
  end
  while true do
    local told, result = step(replay, on_progress ~= nil)
    if not told then return result end
    on_progress(told)
  end
end
