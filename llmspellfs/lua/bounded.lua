-- The bound of memory holds while the script's own code runs, and is off while the host's does: an allocation that
-- failed there would jump over the host's frames, and the process would hang.
local host, hold, release = ...

local checked, run = host.checked, host.run

local function held(...)
  hold()
  return ...
end

local function released(...)
  release()
  return ...
end

function host.checked(f)
  return checked(function(...)
    release()
    return held(f(...))
  end)
end

function host.run(...)
  hold()
  return released(run(...))
end
