"""The commit point: what each way of writing commits, when, and as how many versions and events."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from tests.mount.live import Mounted, events, refused, stored, version, wait_for

WAYS = {
    "echo": ("echo x > f", "x\n"),
    "function with children": ("w() { /bin/echo a; /bin/echo b; cat /dev/null; }; w | cat > f", "a\nb\n"),
    "cat from a function": ("g() { cat > f; /bin/true; }; printf 'a\\nb\\n' | g", "a\nb\n"),
    "group of children": ("{ /bin/echo a; /bin/echo b; } > f", "a\nb\n"),
    "descriptor kept by the shell": ("exec 3>f; echo a >&3; /bin/echo b >&3; exec 3>&-", "a\nb\n"),
    "duplicated descriptors": ("exec 3>f; exec 4>&3; echo a >&3; exec 3>&-; echo b >&4; exec 4>&-", "a\nb\n"),
    "children with a pause": ("( /bin/echo a; sleep 0.05; /bin/echo b; sleep 0.05; /bin/echo c ) > f", "a\nb\nc\n"),
    "cp": ("printf 'a\\nb\\n' > /tmp/$$.t; cp /tmp/$$.t f; rm /tmp/$$.t", "a\nb\n"),
    "dd in blocks": ("dd if=/dev/zero of=f bs=1k count=3 2>/dev/null", "\0" * 3072),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_new_file_is_one_version_and_one_event(live: Mounted, s: Path, way: str) -> None:
    script, content = WAYS[way]
    live.shell(script, s)
    assert (s / "f").read_text() == content
    assert len(stored(s, "f")) == 1
    assert version(s / "f") == 1


EDITS = {
    "echo over": ("echo new > f", "new\n"),
    "append": ("echo new >> f", "old\nnew\n"),
    "group over": ("{ /bin/echo a; /bin/echo b; } > f", "a\nb\n"),
    "vim": ("vim -es -u NONE -N -c '%s/old/new/' -c 'wq' f </dev/null || true", "new\n"),
    "vim by rename": (
        "vim -es -u NONE -N -c 'set backup backupcopy=no' -c '%s/old/new/' -c 'wq' f </dev/null || true; rm -f f~",
        "new\n",
    ),
    "ed": ("printf '1s/old/new/\\nw\\nq\\n' | ed -s f", "new\n"),
    "sed in place": ("sed -i s/old/new/ f", "new\n"),
    "temporary and rename": ("echo new > .f.tmp && mv .f.tmp f", "new\n"),
    "rsync": ("mkdir -p /tmp/$$.d && echo new! > /tmp/$$.d/f && rsync -a /tmp/$$.d/ ./; rm -r /tmp/$$.d", "new!\n"),
    "truncate and write": ("truncate -s 0 f", ""),
}


@pytest.mark.parametrize("way", EDITS)
def test_a_save_is_one_more_version(live: Mounted, s: Path, way: str) -> None:
    (s / "f").write_text("old\n")
    assert len(stored(s, "f")) == 1
    seen = len(events(s))
    script, content = EDITS[way]
    live.shell(script, s)
    assert (s / "f").read_text() == content
    wait_for(lambda: version(s / "f") == 2)  # what was only cut is committed when the kernel releases it
    wait_for(lambda: not live.spooled())
    time.sleep(0.05)
    assert version(s / "f") == 2
    news = [e for e in events(s)[seen:] if e.get("name") == "f"]
    assert len(news) == 1, news
    assert news[0]["version"] == 2
    assert sorted(os.listdir(s)) == ["f"]


def test_tags_written_with_printf_are_one_event(live: Mounted, s: Path) -> None:
    live.shell(r"printf 'a\nb\n' > .session/tags", s)
    assert (s / ".session/tags").read_text() == "a\nb\n"
    assert [e["kind"] for e in events(s)] == ["session.created", "session.updated"]


def test_control_files_written_by_children_are_applied(live: Mounted, s: Path) -> None:
    live.shell("{ /bin/echo a; } > .session/tags; cat .session/tags > /dev/null", s)
    assert (s / ".session/tags").read_text() == "a\n"
    live.shell("w() { cat > .session/description; }; /bin/echo text | w", s)
    assert (s / ".session/description").read_text() == "text\n"
    assert len(events(s)) == 3


def test_a_tags_file_truncated_and_never_written_is_applied_at_release(live: Mounted, s: Path) -> None:
    live.shell("echo a > .session/tags; : > .session/tags", s)
    wait_for(lambda: (s / ".session/tags").read_text() == "")


def test_created_and_never_written_is_an_empty_version(live: Mounted, s: Path) -> None:
    live.shell(": > f; touch g", s)
    for name in "fg":
        assert [e["size"] for e in stored(s, name)] == [0]
        assert version(s / name) == 1


def test_truncated_and_never_written_is_a_version(live: Mounted, s: Path) -> None:
    (s / "f").write_text("old\n")
    stored(s, "f")
    live.shell(": > f", s)
    wait_for(lambda: len(stored(s, "f")) == 2)
    assert [e["size"] for e in stored(s, "f")] == [4, 0]
    assert (version(s / "f"), (s / "f").stat().st_size) == (2, 0)


def test_the_same_content_again_is_no_version(live: Mounted, s: Path) -> None:
    (s / "f").write_text("same\n")
    stored(s, "f")
    (s / "f").write_text("same\n")
    time.sleep(0.1)
    assert len(stored(s, "f")) == 1
    assert version(s / "f") == 1


def test_every_close_of_a_kept_descriptor_commits_but_makes_one_event(live: Mounted, s: Path) -> None:
    kept = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    with live.open() as door:
        for number in range(3):
            twin = os.dup(kept)
            os.write(twin, b"line\n")
            os.close(twin)
            assert door.artifacts.read(door.artifacts.get(s.name, "f")) == b"line\n" * (number + 1)
    assert not [e for e in events(s) if e["kind"].startswith("artifact")]
    os.close(kept)
    assert [(e["version"], e["size"]) for e in stored(s, "f")] == [(1, 15)]


def test_another_door_that_looks_at_a_draft_changes_nothing(live: Mounted, s: Path) -> None:
    kept = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    os.write(kept, b"one")
    os.close(os.dup(kept))
    live.command("artifact", "list", s.name)
    live.command("verify", s.name)
    os.write(kept, b"two")
    os.close(kept)
    assert (s / "f").read_text() == "onetwo"
    assert len(stored(s, "f")) == 1


def test_another_door_that_writes_a_draft_ends_it(live: Mounted, s: Path) -> None:
    kept = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    os.write(kept, b"one")
    os.close(os.dup(kept))
    live.command("artifact", "put", s.name, "-", "--name", "f", stdin="theirs")
    assert live.command("artifact", "cat", f"{s.name}:f").stdout == "theirs"
    os.write(kept, b"two")
    os.close(kept)
    wait_for(lambda: len(stored(s, "f")) == 3)
    assert live.command("artifact", "cat", f"{s.name}:f").stdout == "onetwo"


@pytest.mark.parametrize("size", [3, 5 << 20])
def test_what_was_closed_survives_the_daemon_being_killed(own: Mounted, size: int) -> None:
    own.mount()
    s = own.session("s")
    content = os.urandom(size)
    (s / "f").write_bytes(content)
    own.kill(signal.SIGKILL)
    own.mount()
    assert (s / "f").read_bytes() == content
    assert len(stored(s, "f")) == 1
    own.command("verify")


def test_what_was_not_closed_is_found_in_lost_after_a_kill(own: Mounted) -> None:
    own.mount()
    s = own.session("s")
    content = os.urandom(1 << 20)
    kept = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    os.write(kept, content)
    own.kill(signal.SIGKILL)
    with refused(errno.ENOTCONN, errno.ECONNABORTED):
        os.close(kept)
    with own.open() as door:
        (item,) = door.upkeep.lost()
        assert (item.name, item.size) == ("f", 1 << 20)
        assert b"".join(door.upkeep.read_lost(item.id)) == content
    own.mount()
    assert os.listdir(s) == []


def test_a_state_changed_elsewhere_fails_the_close_and_keeps_the_bytes(live: Mounted, s: Path) -> None:
    live.may_fail = True
    kept = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    with live.open() as door:  # a command would do, but for its fork, which flushes every descriptor
        os.write(kept, b"too late")
        door.sessions.suspend(s.name)
        with refused(errno.EROFS):
            os.close(kept)
        (item,) = [item for item in door.upkeep.lost() if item.session and item.name == "f"]
        assert b"".join(door.upkeep.read_lost(item.id)) == b"too late"
    wait_for(lambda: os.listdir(s) == [])
    live.command("session", "resume", s.name)
    assert item.id in live.command("lost", "list").stdout
    live.command("lost", "recover", item.id)
    wait_for((s / "f").exists)
    assert (s / "f").read_text() == "too late"


def test_a_large_file_refused_at_its_close_is_lost_whole(live: Mounted, s: Path) -> None:
    live.may_fail = True
    content = os.urandom(6 << 20)
    kept = os.open(s / "big", os.O_CREAT | os.O_RDWR)
    for at in range(0, len(content), 1 << 20):
        os.write(kept, content[at : at + (1 << 20)])
    with live.open() as door:
        door.sessions.suspend(s.name)
        with refused(errno.EROFS):
            os.close(os.dup(kept))
        item = next(item for item in door.upkeep.lost() if item.name == "big")
        assert b"".join(door.upkeep.read_lost(item.id)) == content
        door.sessions.resume(s.name)
        os.pwrite(kept, b"more", 0)  # the handle lives on, and what is lost stays as it was
        os.close(kept)
        assert b"".join(door.upkeep.read_lost(item.id)) == content
    assert (s / "big").read_bytes() == b"more" + content[4:]


def test_a_state_with_dirty_handles_is_busy(live: Mounted, s: Path) -> None:
    kept = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    os.write(kept, b"x")
    with refused(errno.EBUSY):
        (s / ".session/status").write_text("completed\n")
    with refused(errno.EBUSY):
        os.setxattr(s, "user.llmspell.status", b"suspended")
    assert (s / ".session/status").read_text() == "active\n"
    os.close(kept)
    (s / ".session/status").write_text("completed\n")
    assert (s / ".session/status").read_text() == "completed\n"
    assert [e["kind"] for e in events(s)] == ["session.created", "artifact.stored", "session.completed"]


def test_a_file_that_is_too_large_fails_the_write(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path, "max_artifact_size = 1000\n")
    try:
        mounted.mount()
        s = mounted.session("s")
        with refused(errno.EFBIG), open(s / "f", "wb", buffering=0) as file:
            file.write(bytes(600))
            file.write(bytes(600))
        assert (s / "f").stat().st_size == 600
        with refused(errno.EFBIG):
            os.truncate(s / "f", 2000)
        assert (s / "f").stat().st_size == 600
    finally:
        mounted.end()
    mounted.check(is_whole=True)


def test_too_many_artifacts_are_refused_when_they_are_created(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path, "max_artifacts_per_session = 1\nmax_sessions = 1\n")
    mounted.may_fail = True
    try:
        mounted.mount()
        s = mounted.session("s")
        (s / "a").write_text("a")
        with refused(errno.EDQUOT):
            os.open(s / "b", os.O_CREAT | os.O_WRONLY)
        with refused(errno.EDQUOT):
            (mounted.sessions / "t").mkdir()
        assert os.listdir(s) == ["a"]
        (s / "a").write_text("again")
    finally:
        mounted.end()
    mounted.check(is_whole=True)


def test_fsync_commits_and_sigterm_commits_the_rest(own: Mounted) -> None:
    own.mount()
    s = own.session("s")
    kept = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    os.write(kept, b"synced ")
    os.fsync(kept)
    with own.open() as door:
        assert door.artifacts.read(door.artifacts.get("s", "f")) == b"synced "
    os.write(kept, b"and not")
    touched = os.open(s / "empty", os.O_CREAT | os.O_WRONLY)
    own.kill(signal.SIGTERM)
    for descriptor in (kept, touched):
        with refused(errno.ENOTCONN, errno.ECONNABORTED):
            os.close(descriptor)
            raise OSError(errno.ENOTCONN, "a clean descriptor need not fail")
    own.mount()
    assert ((s / "f").read_bytes(), (s / "empty").read_bytes()) == (b"synced and not", b"")
    assert len(stored(s, "f")) == len(stored(s, "empty")) == 1


def test_what_is_truncated_and_closed_is_empty_at_once(live: Mounted, s: Path) -> None:
    for number in range(30):
        (s / "f").write_bytes(b"x" * 70_000)
        os.close(os.open(s / "f", os.O_WRONLY | os.O_TRUNC))
        assert (s / "f").stat().st_size == 0, number
        assert (s / "f").read_bytes() == b"", number


def test_a_state_can_be_changed_right_after_a_close(live: Mounted, s: Path) -> None:
    for _ in range(10):
        live.shell("touch f$RANDOM; echo suspended > .session/status; echo active > .session/status", s)


@pytest.mark.parametrize("flags", [0, os.O_TRUNC], ids=["made", "emptied"])
def test_what_a_reader_makes_or_empties_is_committed(live: Mounted, s: Path, flags: int) -> None:
    if flags:
        (s / "f").write_text("text")
    os.close(os.open(s / "f", os.O_RDONLY | os.O_CREAT | flags))
    with live.open() as door:
        wait_for(lambda: [(a.name, a.size) for a in door.artifacts.list(s.name)] == [("f", 0)])
    assert (s / "f").read_bytes() == b""
