-- print, io.write and io.stdout on the host's one stream; os.exit that ends the script and not the process.
local host, write, flush, exit = ...

local checked = host.checked
write, flush, exit = checked(write), checked(flush), checked(exit)

local type, select, tostring, concat, error = type, select, tostring, table.concat, error
local pcall, math_type, tointeger = pcall, math.type, math.tointeger
local io_output, io_type, io_close, io_write = io.output, io.type, io.close, io.write

function print(...)
  local parts = { ... }
  for index = 1, select("#", ...) do parts[index] = tostring(parts[index]) end
  write(concat(parts, "\t") .. "\n")
end

-- What a function of Lua's own gives; its errors are raised as the script's.
local function given(ok, ...)
  if ok then return ... end
  host.fail((tostring((...)):gsub("^%[llmspellfs%]:%d+: ", "")))
end

local function put(file, ...)
  for index = 1, select("#", ...) do
    local part = select(index, ...)
    local kind = type(part)
    if kind ~= "string" and kind ~= "number" then
      error(("bad argument #%d to 'write' (string expected, got %s)"):format(index, kind), 3)
    end
    write(tostring(part))
  end
  return file
end

-- Stands for the file of standard output.
local STDOUT = setmetatable({}, { __name = "FILE*", __metatable = false, __tostring = function() return "file (stdout)" end })

function STDOUT:write(...)
  local file = put(STDOUT, ...)
  return file
end

function STDOUT:flush()
  flush()
  return self
end

function STDOUT:setvbuf() return true end
function STDOUT:close() return true end
function STDOUT:seek() return nil, "Illegal seek", 29 end
function STDOUT:read() return nil, "Bad file descriptor", 9 end
function STDOUT:lines() error("standard output is not open for reading", 2) end

-- io.output's own default file, for as long as the script has not chosen another.
local chosen = false

function io.output(file)
  if file == nil then return chosen and io_output() or STDOUT end
  local opened = file == STDOUT and STDOUT or given(pcall(io_output, file))
  chosen = opened ~= STDOUT
  return opened
end

function io.write(...)
  if chosen then return given(pcall(io_write, ...)) end
  local file = put(STDOUT, ...)
  return file
end

function io.flush()
  if chosen then return io_output():flush() end
  return STDOUT:flush()
end

function io.close(file)
  if file == STDOUT or (file == nil and not chosen) then return true end
  return given(pcall(io_close, file or io_output()))
end

function io.type(file)
  if file == STDOUT then return "file" end
  return io_type(file)
end

io.stdout = STDOUT

-- What a child prints comes after what the script printed before it.
local execute = os.execute

-- This Lua is built without what tells how a process ended: it gives wait(2)'s status as it is.
local function outcome(done, _, status)
  if done or not status then return done, "exit", status or 0 end
  local signal = status & 0x7F
  if signal ~= 0 then return nil, "signal", signal end
  return nil, "exit", status >> 8
end

function os.execute(command)
  flush()
  if command == nil then return execute() end
  return outcome(execute(command))
end

io.popen = nil

function os.exit(code)
  if code == nil or code == true then code = 0 elseif code == false then code = 1 end
  if math_type(code) ~= "integer" then
    code = tointeger(code) or error("bad argument #1 to 'exit' (number expected, got " .. type(code) .. ")", 2)
  end
  exit(code)
end
