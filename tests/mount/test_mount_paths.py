"""Where a script finds the files of its session on a live mount."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mount.live import Mounted

CODE = "print(Session.path(arg[1]))"


def test_a_script_writes_into_its_session_by_path(live: Mounted, s: Path) -> None:
    code = "local p = Session.path(arg[1]) io.open(p .. '/made', 'w'):write('by path'):close() print(p)"
    assert live.command("run", "--no-record", "-e", code, s.name).stdout == f"{s}\n"
    assert live.command("artifact", "cat", f"{s.name}:made").stdout == "by path"


def test_a_session_has_no_path_before_the_mount_and_after_it(own: Mounted) -> None:
    own.command("session", "create", "s")
    assert own.command("run", "-e", CODE, "s").stdout == "nil\n"
    own.mount()
    assert own.command("run", "-e", CODE, "s").stdout == f"{own.path}/sessions/s\n"
    own.umount()
    assert own.command("run", "-e", CODE, "s").stdout == "nil\n"
