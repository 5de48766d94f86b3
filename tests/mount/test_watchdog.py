"""What ends tests that hang: a call into a mount that does not answer fails once the connection is cut."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from tests.mount.live import Mounted
from tests.watchdog import mounts_beneath, watch


def test_a_call_that_waits_for_a_stopped_mount_fails_when_the_time_is_over(own: Mounted) -> None:
    own.mount()
    daemon = own.pid
    os.kill(daemon, signal.SIGSTOP)
    try:
        with watch("this", lambda: own.path.parent, 0.5, int), pytest.raises(OSError) as refused:  # noqa: PT011 - see below
            (own.sessions / "never looked up").stat()
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert refused.value.errno in {errno.ENOTCONN, errno.ECONNABORTED}
    own.may_fail = True


def test_only_mounts_of_fuse_beneath_the_folder_are_cut() -> None:
    table = (
        r"30 1 0:25 / /tmp/a/m\040n rw shared:5 - fuse.llmspellfs llmspellfs rw" + "\n"
        "31 1 0:26 / /tmp/ab rw - fuse.llmspellfs llmspellfs rw\n"
        "32 1 0:27 / /tmp/a/disk rw - tmpfs tmpfs rw\n"
        "33 1 0:28 / /tmp/a/b/c rw - fuse llmspellfs rw\n"
    )
    assert mounts_beneath(Path("/tmp/a"), table) == [b"/tmp/a/b/c", b"/tmp/a/m n"]
