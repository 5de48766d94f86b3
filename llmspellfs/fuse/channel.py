"""libfuse's session and its channel, the device, as the pool uses them: structures and functions of libfuse 2.9."""

from __future__ import annotations

import ctypes

import fuse

_lib = fuse._libfuse  # noqa: SLF001 - the handle that fusepy found and opened
ADDRESS = ctypes.c_void_p
Receive = ctypes.CFUNCTYPE(ctypes.c_int, ADDRESS, ADDRESS, ctypes.c_size_t)
"""Waits for a request and takes it: the address of a channel's address, a buffer, its size; the request's length,
0 at the end of the mount, or a negative errno."""

serve_session = ctypes.CFUNCTYPE(ctypes.c_int, ADDRESS)(("fuse_session_loop", _lib))
"""Receives and processes until the session's end, in one buffer."""
process = ctypes.CFUNCTYPE(None, ADDRESS, ADDRESS, ctypes.c_size_t, ADDRESS)(("fuse_session_process", _lib))
"""Answers one request: the session, the request, its length, the channel."""
exit_session = ctypes.CFUNCTYPE(None, ADDRESS)(("fuse_session_exit", _lib))
_next_channel = ctypes.CFUNCTYPE(ADDRESS, ADDRESS, ADDRESS)(("fuse_session_next_chan", _lib))
_channel_fd = ctypes.CFUNCTYPE(ctypes.c_int, ADDRESS)(("fuse_chan_fd", _lib))
_channel_size = ctypes.CFUNCTYPE(ctypes.c_size_t, ADDRESS)(("fuse_chan_bufsize", _lib))


class Channel(ctypes.Structure):
    """`struct fuse_chan`, as far as it matters here."""

    _fields_ = (
        ("receive", ADDRESS),
        ("send", ADDRESS),
        ("destroy", ADDRESS),
        ("session", ADDRESS),
        ("fd", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


def channel_of(session: int) -> Channel:
    """Return the channel of the `struct fuse_session` at *session*; raise RuntimeError where libfuse is another."""
    address = _next_channel(session, None)
    channel = Channel.from_address(address)
    known = (channel.session, channel.fd, channel.size)
    if known != (session, _channel_fd(address), _channel_size(address)):
        raise RuntimeError("this libfuse is not of version 2.9")
    return channel
