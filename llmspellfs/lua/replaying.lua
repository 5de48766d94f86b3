-- Puts the functions of replay into `Session` and `Artifact`; `on_progress` is called here, on Lua's side.
local host, Session, Artifact, functions, lineage, inner = ...

local fail, null, type, pairs, next, rawequal = host.fail, host.null, type, pairs, next, rawequal

for name, f in pairs(functions) do Session[name] = f end
for name, f in pairs(lineage) do Artifact[name] = f end
local begin, step = host.checked(inner.begin), host.checked(inner.step)

function Session.replay(session, options)
  local on_progress, others = nil, options
  if type(options) == "table" and not rawequal(options, null) then
    others = {}
    for name, value in next, options do others[name] = value end
    on_progress, others.on_progress = others.on_progress, nil
  end
  if on_progress ~= nil and type(on_progress) ~= "function" then
    fail(("Session.replay: argument 2 (options).on_progress: expected a function, got %s"):format(type(on_progress)))
  end
  local replay = begin(session, others)
  while true do
    local told, result = step(replay, on_progress ~= nil)
    if not told then return result end
    on_progress(told)
  end
end
