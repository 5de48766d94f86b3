"""Times, link counts and listings at the moments that a mount passes too fast to be watched there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

import pytest

from tests.tree.meanwhile import after, before
from tests.tree.trees import Walker, close, write


def test_a_listing_has_what_is_committed_while_it_is_made(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = walker.create(f"{s}/f", b"x")
    after(monkeypatch, walker.store.entries, "listing", handle.flush)
    assert walker.names(s) == ["f"]
    assert walker.names(s) == ["f"]
    handle.release()


def test_a_listing_has_what_is_committed_and_renamed_once(
    walker: Walker, s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = walker.create(f"{s}/f", b"x")
    rename = partial(walker.tree.rename, f"{s}/f", f"{s}/g", walker.caller)
    before(monkeypatch, walker.store.entries, "listing", rename)
    assert walker.names(s) == ["g"]
    close(handle)


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "known"])
def test_a_commit_changes_no_times(walker: Walker, s: str, is_new: bool) -> None:
    if not is_new:
        walker.write(f"{s}/f", b"text")
    handle = walker.create(f"{s}/f")
    write(handle, b"other", 0)
    old = handle.attr(), walker.tree.attr(s)
    time.sleep(0.002)
    close(handle)
    walker.tree.sync()
    new = walker.tree.attr(f"{s}/f"), walker.tree.attr(s)
    assert [(attr.mtime_ns, attr.ctime_ns) for attr in new] == [(attr.mtime_ns, attr.ctime_ns) for attr in old]


def test_a_folder_shows_when_a_file_was_made_that_nobody_has_committed(walker: Walker, s: str) -> None:
    empty = walker.tree.attr(s)
    handle = walker.create(f"{s}/f", b"x")
    made = walker.tree.attr(s)
    assert made.mtime_ns == made.ctime_ns
    walker.tree.unlink(f"{s}/f", walker.caller)
    gone = walker.tree.attr(s)
    assert gone.mtime_ns > made.mtime_ns > empty.mtime_ns
    close(handle)
    assert walker.tree.attr(s) == gone


CHANGES: dict[str, Callable[[Walker, str], object]] = {
    "chmod": lambda walker, s: walker.tree.chmod(f"{s}/d", 0o700, walker.caller),
    "chown": lambda walker, s: walker.tree.chown(f"{s}/d", 0, 0, walker.caller),
    "atime": lambda walker, s: walker.tree.utimens(f"{s}/d", 5, None, walker.caller),
    "rename": lambda walker, s: walker.tree.rename(f"{s}/d", f"{s}/e", walker.caller),
    "another session": lambda walker, s: walker.tree.rename(f"{s}/d", f"{s}-other/e", walker.caller),
}


@pytest.mark.parametrize("is_removed", [False, True], ids=["made", "removed"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_folders_ctime_leaves_when_a_file_came_or_went_that_nobody_has_committed(
    walker: Walker, s: str, change: str, is_removed: bool
) -> None:
    for path in (f"{s}/d", f"{s}-other"):
        walker.tree.mkdir(path, 0o755, walker.caller)
    handle = walker.create(f"{s}/d/f", b"x")
    if is_removed:
        walker.tree.unlink(f"{s}/d/f", walker.caller)
    before, ino = walker.tree.attr(f"{s}/d"), walker.tree.attr(f"{s}/d").ino
    CHANGES[change](walker, s)
    shown = [walker.store.entries.attributes(ino)]
    close(handle)
    walker.tree.sync()
    shown.append(walker.store.entries.attributes(ino))
    assert [attributes.mtime_ns for attributes in shown] == [before.mtime_ns] * 2
    assert all(attributes.ctime_ns > before.ctime_ns for attributes in shown)


def test_times_set_while_a_file_is_written_are_kept(walker: Walker, s: str) -> None:
    walker.tree.mkdir(f"{s}/d", 0o755, walker.caller)
    handle = walker.create(f"{s}/d/f", b"x")
    walker.tree.utimens(f"{s}/d", 5, 6, walker.caller)
    close(handle)
    shown = walker.tree.attr(f"{s}/d")
    assert (shown.atime_ns, shown.mtime_ns) == (5, 6)


def test_removing_an_open_file_is_a_change_of_it(walker: Walker, s: str) -> None:
    handle = walker.create(f"{s}/f", b"x")
    handle.flush()
    old = handle.attr()
    walker.tree.hide(f"{s}/f", f"{s}/.fuse_hidden1", replaced=False)
    shown = handle.attr()
    assert (shown.nlink, shown.mtime_ns) == (0, old.mtime_ns)
    assert shown.ctime_ns > old.ctime_ns
    walker.tree.unlink(f"{s}/.fuse_hidden1", walker.caller)
    close(handle)


def test_metadata_given_to_a_file_that_is_written_changes_its_ctime_and_stays_changed(walker: Walker, s: str) -> None:
    for is_committed in (False, True):
        handle = walker.create(f"{s}/{is_committed}", b"x")
        if is_committed:
            handle.flush()
            write(handle, b"y", 1)
        old_ns = handle.attr().ctime_ns
        walker.tree.setxattr(f"{s}/{is_committed}", "user.k", b"v", 0, walker.caller)
        assert handle.attr().ctime_ns > old_ns
        close(handle)
        assert walker.tree.attr(f"{s}/{is_committed}").ctime_ns > old_ns


@pytest.mark.parametrize("is_committed", [False, True], ids=["pending", "committed"])
def test_metadata_that_a_file_has_already_does_not_change_its_ctime(walker: Walker, s: str, is_committed: bool) -> None:
    handle = walker.create(f"{s}/f", b"x")
    values = {"user.k": (b"1", b"true"), "user.llmspell.tags": (b"a", b"b")}
    for name, (value, _) in values.items():
        walker.tree.setxattr(f"{s}/f", name, value, 0, walker.caller)
    if is_committed:
        close(handle)
    old_ns = walker.tree.attr(f"{s}/f").ctime_ns
    for name, (value, _) in values.items():
        walker.tree.setxattr(f"{s}/f", name, value, 0, walker.caller)
    assert walker.tree.attr(f"{s}/f").ctime_ns == old_ns
    for name, (_, other) in values.items():
        walker.tree.setxattr(f"{s}/f", name, other, 0, walker.caller)
        assert walker.tree.attr(f"{s}/f").ctime_ns > old_ns
        old_ns = walker.tree.attr(f"{s}/f").ctime_ns
    if not is_committed:
        close(handle)


def test_a_write_past_the_kernels_pages_takes_privileges_away(walker: Walker, s: str) -> None:
    for flags in (os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_TRUNC):
        walker.write(f"{s}/f", b"program")
        walker.tree.chmod(f"{s}/f", 0o6755, walker.caller)
        handle = walker.open(f"{s}/f", flags)
        write(handle, b"x", 0)
        assert handle.attr().mode & 0o7777 == 0o755
        close(handle)
        assert walker.tree.attr(f"{s}/f").mode & 0o7777 == 0o755
