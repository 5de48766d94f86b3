"""The Lua door: `Session`, `Artifact`, `Tool`, `JSON`, `State`, `Event` and `Hook`, over the same store as other doors.

`runtime.Script` runs a script; one module for each global says what its functions take and give; `values`
carries values across, and the `.lua` files beside are what runs on Lua's side. The room translates and
decides nothing: the rules are the service's. A script belongs to one thread; several scripts may run on
one store in several threads.

Lua never sees a Python object and never a Python exception: each function of this room answers `true,
value…` or `false, message`, and `prelude.lua` raises the message with the script's line.
"""
