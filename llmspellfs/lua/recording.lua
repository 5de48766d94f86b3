-- Tells the host of each module that `require` has found in a file, while it is loaded.
local tell = ...

local searchers = package and package.searchers
local find = searchers and searchers[2]

if find then
  searchers[2] = function(name)
    local loader, path = find(name)
    if type(loader) == "function" then tell(name, path) end
    return loader, path
  end
end
