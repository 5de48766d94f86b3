"""Times: what changes them, what sets them, and what leaves them alone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mount.live import Mounted, stored, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

Times = tuple[int, int]


def times(path: Path) -> Times:
    got = path.lstat()
    return got.st_mtime_ns, got.st_ctime_ns


CHANGES: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "create": (lambda s: (s / "d/new").touch(), {"d"}),
    "mkdir": (lambda s: (s / "d/new").mkdir(), {"d"}),
    "symlink": (lambda s: (s / "d/new").symlink_to("x"), {"d"}),
    "unlink": (lambda s: (s / "d/f").unlink(), {"d"}),
    "rmdir": (lambda s: (s / "d/sub").rmdir(), {"d"}),
    "rename": (lambda s: os.rename(s / "d/f", s / "d/g"), {"d"}),
    "rename to elsewhere": (lambda s: os.rename(s / "d/f", s / "e/f"), {"d", "e"}),
    "rename of a folder": (lambda s: os.rename(s / "d/sub", s / "e/sub"), {"d", "e"}),
    "write": (lambda s: (s / "d/f").write_text("other"), {"d/f"}),
    "write of the same": (lambda s: (s / "d/f").write_text("text"), {"d/f"}),
    "truncate": (lambda s: os.truncate(s / "d/f", 1), {"d/f"}),
    "chmod": (lambda s: (s / "d/f").chmod(0o600), {"d/f ctime"}),
    "chown": (lambda s: os.chown(s / "d/f", os.getuid(), os.getgid()), {"d/f ctime"}),
    "setxattr": (lambda s: os.setxattr(s / "d/f", "user.k", b"v"), {"d/f ctime"}),
    "chmod of a folder": (lambda s: (s / "d").chmod(0o700), {"d ctime"}),
    "read": (lambda s: (s / "d/f").read_text(), set()),
    "list": (lambda s: os.listdir(s / "d"), set()),
    "readlink": (lambda s: os.readlink(s / "d/link"), set()),
    "open and close": (lambda s: os.close(os.open(s / "d/f", os.O_RDWR)), set()),
    "fsync": (lambda s: os.sync(), set()),
    "getxattr": (lambda s: os.listxattr(s / "d/f"), set()),
}


@pytest.mark.parametrize("what", CHANGES)
def test_times_change_with_what_they_stand_for(live: Mounted, s: Path, what: str) -> None:
    for folder in ("d/sub", "e"):
        (s / folder).mkdir(parents=True)
    (s / "d/f").write_text("text")
    (s / "d/link").symlink_to("f")
    names = ("d", "e", "d/f", "d/sub", ".")
    before = {name: times(s / name) for name in names}
    change, expected = CHANGES[what]
    change(s)
    changed = set()
    for name in names:
        if (s / name).exists():
            mtime, ctime = (new != old for new, old in zip(times(s / name), before[name], strict=True))
            assert ctime >= mtime, "an mtime that changes is a change of its own"
            changed |= {name} if mtime else {f"{name} ctime"} if ctime else set()
    assert changed == expected


def test_a_rename_changes_the_ctime_of_what_is_renamed(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    (s / "d").mkdir()
    for old, new in (("f", "g"), ("d", "e")):
        before = times(s / old)
        os.rename(s / old, s / new)
        after = times(s / new)
        assert after[0] == before[0]
        assert after[1] > before[1]


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "known"])
def test_a_close_changes_no_times(live: Mounted, s: Path, is_new: bool) -> None:
    if not is_new:
        (s / "f").write_bytes(b"text")
        stored(s, "f")
    descriptor = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"x")
    if is_new:
        os.utime(descriptor, ns=(1, 2_000_000_000))
    file, folder = times(s / "f"), times(s)
    time.sleep(0.02)
    os.close(descriptor)
    version = 1 if is_new else 2
    wait_for(lambda: len(stored(s, "f")) == version)
    s.chmod(0o750)  # what the kernel knows of the folder is forgotten
    os.getxattr(s / "f", "user.llmspell.id")
    assert (times(s / "f"), times(s)[0]) == (file, folder[0])


def test_a_folders_times_are_kept_when_what_was_made_before_is_closed(live: Mounted, s: Path) -> None:
    """As tar and cp -a set them, last: the kernel releases an empty file a moment after its close."""
    (s / "d").mkdir()
    descriptor = os.open(s / "d/empty", os.O_CREAT | os.O_WRONLY)
    os.utime(s / "d", ns=(5, 6_000_000_000))
    os.close(descriptor)
    with live.open() as door:
        wait_for(lambda: [a.name for a in door.artifacts.list(s.name)] == ["d/empty"])
    live.shell("setfattr -n user.k -v v d/empty; ls -l d; mv d e", s)  # the kernel asks anew
    assert (s / "e").stat().st_mtime_ns == 6_000_000_000


def test_now_and_omit(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    os.utime(s / "f", ns=(1_000_000_001, 2_000_000_002))
    live.shell("touch -a -d @7.000000007 f", s)  # mtime is omitted
    got = (s / "f").stat()
    assert (got.st_atime_ns, got.st_mtime_ns) == (7_000_000_007, 2_000_000_002)
    before = time.time_ns()
    live.shell("touch -m f", s)  # mtime is now, atime omitted
    got = (s / "f").stat()
    assert got.st_atime_ns == 7_000_000_007
    assert before - 10**9 < got.st_mtime_ns < time.time_ns() + 10**9
    live.shell("touch -h -d @9.5 link; ln -s f link; touch -h -d @9.5 link", s)
    assert (s / "link").lstat().st_mtime_ns == 9_500_000_000
    assert (s / "f").stat().st_mtime_ns == got.st_mtime_ns


def test_writing_keeps_an_atime_that_was_set(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    os.utime(s / "f", ns=(5, 6))
    (s / "f").write_text("y")
    assert (s / "f").stat().st_atime_ns == 5
    assert (s / "f").stat().st_mtime_ns > 6
