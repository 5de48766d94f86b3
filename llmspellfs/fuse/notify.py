"""What a service manager is told of this process: sd_notify(3)'s protocol, one datagram for each message."""

from __future__ import annotations

import contextlib
import os
import socket

SOCKET = "NOTIFY_SOCKET"
"""The variable that names the manager's socket; one in the abstract name space begins with `@`."""


def notify(message: str) -> None:
    """Send *message*, such as `READY=1`, to the service manager; without one, or none that listens, do nothing."""
    address = os.environ.get(SOCKET, "")
    if not address.startswith(("/", "@")):
        return
    place = os.fsencode(address)
    place = b"\0" + place[1:] if place.startswith(b"@") else place
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as manager:
        manager.sendto(message.encode(), place)
