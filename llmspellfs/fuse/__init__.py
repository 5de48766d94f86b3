"""The FUSE door: it turns requests into calls of a tree, and errors into errnos; it decides nothing.

    daemon       starts, runs and ends the process that serves one mount
    options      what `-o` may say
    mountpoint   where a mount may be, what is mounted there, how it is taken away
    processes    the daemons that run now
    notify       what a service manager is told
    mount        one mount, from its making to its end
    binding      libfuse's callbacks, each a translation of one call
    pool         the threads that receive requests
    layout       C structures to and from the tree's data
    errno        the table from errors to errnos
    log          lines that no name can forge

It runs in a process of its own, one for each mount.
"""
