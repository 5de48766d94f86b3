"""One live mount: made, served until somebody takes it away or a signal comes, and then committed.

The main thread makes it and waits for signals in `serve`; requests are served by the pool's threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import tempfile
import threading
from typing import TYPE_CHECKING

import fuse

from llmspellfs.errors import MountFailed
from llmspellfs.fuse.binding import Binding
from llmspellfs.fuse.notify import notify
from llmspellfs.fuse.pool import WAKE, Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmspellfs.fuse.options import MountOptions
    from llmspellfs.tree.api import TreeApi

MAX_IO = 128 * 1024
"""Bytes of one read or write request; the kernel's bound for libfuse 2."""

_ENDINGS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_ENDED = signal.SIGUSR2

_lib = fuse._libfuse  # noqa: SLF001 - the handle that fusepy found and opened
_ADDRESS = ctypes.c_void_p
_setup = ctypes.CFUNCTYPE(_ADDRESS, ctypes.c_int, _ADDRESS, _ADDRESS, ctypes.c_size_t, _ADDRESS, _ADDRESS, _ADDRESS)(
    ("fuse_setup", _lib)
)
_session_of = ctypes.CFUNCTYPE(_ADDRESS, _ADDRESS)(("fuse_get_session", _lib))
_teardown = ctypes.CFUNCTYPE(None, _ADDRESS, _ADDRESS)(("fuse_teardown", _lib))


def hold_signals() -> None:
    """Keep the signals to end for `Mount.serve`; a thread started before would let them end the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_ENDINGS, _ENDED})


class Mount:
    """*tree* at *mountpoint*; made by the main thread, which then calls `serve`."""

    def __init__(self, tree: TreeApi, mountpoint: str, options: MountOptions, source: str = "llmspellfs") -> None:
        """Mount; raise MountFailed with libfuse's reason. *source* is what the system's table of mounts names."""
        self._tree = tree
        self._binding = Binding(tree)
        hold_signals()
        signal.signal(WAKE, lambda *_: None)
        self._main = threading.get_ident()
        self._name = ctypes.c_char_p()
        self._fuse = self._mount(mountpoint, _libfuse_options(options, source))
        self._pool = Pool(_session_of(self._fuse), options.threads, self._wake_main)

    def start(self) -> None:
        """Begin to answer requests."""
        self._pool.start()

    def serve(self) -> None:
        """Return when the mount is gone, by an unmount or by a signal to end, and everything is committed."""
        if signal.sigwait({*_ENDINGS, _ENDED}) != _ENDED:
            self._pool.stop()
        notify("STOPPING=1")
        self._pool.join()
        _teardown(self._fuse, ctypes.cast(self._name, _ADDRESS))
        self._tree.destroy()

    def _wake_main(self) -> None:
        signal.pthread_kill(self._main, _ENDED)

    def _mount(self, mountpoint: str, options: str) -> int:
        words = [b"llmspellfs", b"-f", b"-o", os.fsencode(options), os.fsencode(mountpoint)]
        argv = (ctypes.c_char_p * (len(words) + 1))(*words, None)
        operations, threaded = self._binding.operations, ctypes.c_int()
        with _stderr_kept() as reasons:
            made: int | None = _setup(
                len(words),
                ctypes.addressof(argv),
                ctypes.addressof(operations),
                ctypes.sizeof(operations),
                ctypes.addressof(self._name),
                ctypes.addressof(threaded),
                None,
            )
        if not made:
            raise MountFailed(mountpoint, "; ".join(reasons) or "libfuse gave no reason")
        return made


def _libfuse_options(options: MountOptions, source: str) -> str:
    words = [
        f"fsname={_escaped(source)}",
        "subtype=llmspellfs",
        "default_permissions",
        "use_ino",
        "big_writes",
        "atomic_o_trunc",
        f"max_read={MAX_IO}",
        f"max_write={MAX_IO}",
        f"attr_timeout={options.attr_timeout}",
        f"entry_timeout={options.entry_timeout}",
        "negative_timeout=0",
        *(f"{name}={number}" for name, number in (("uid", options.uid), ("gid", options.gid)) if number is not None),
        *(() if options.umask is None else [f"umask={options.umask:o}"]),
        *options.flags,
    ]
    return ",".join([*words, "allow_other"] if options.allow_other else words)


def _escaped(text: str) -> str:
    """Return *text* as libfuse's option parser wants it."""
    return text.replace("\\", "\\\\").replace(",", "\\,")


@contextlib.contextmanager
def _stderr_kept() -> Iterator[list[str]]:
    """Collect the lines that C code writes to standard error meanwhile."""
    lines: list[str] = []
    before = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            lines += kept.read().decode(errors="replace").splitlines()
