"""The control directory: every file of it read and written, and what is refused whole."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.mount.live import Mounted, events, refused, wait_for


def test_every_file_is_there_by_name_and_never_listed(live: Mounted, s: Path) -> None:
    assert os.listdir(s) == []
    assert ".session" not in live.shell("ls -a; find .", s).stdout
    control = s / ".session"
    fields = ["id", "status", "name", "description", "tags", "parent", "session.json"]
    folders = ["artifacts", "children", "checkpoints", "at", "versions"]
    assert sorted(os.listdir(control)) == sorted([*fields, *folders, "events.jsonl"])
    for name in os.listdir(control):
        path = control / name
        if path.is_file():
            assert path.stat().st_size == len(path.read_bytes())


def test_fields_say_what_the_store_says(live: Mounted, s: Path) -> None:
    with live.open() as door:
        session = door.sessions.update(s.name, description="two\nlines", tags=["a", "b"], metadata={"k": [1]})
        control = s / ".session"
        assert (control / "id").read_text() == f"{session.id}\n"
        assert (control / "status").read_text() == "active\n"
        assert (control / "name").read_text() == f"{s.name}\n"
        assert (control / "description").read_text() == "two\nlines\n"
        assert (control / "tags").read_text() == "a\nb\n"
        assert (control / "parent").read_text() == ""
        document = json.loads((control / "session.json").read_text())
        assert document["metadata"] == {"k": [1]}
        assert (document["seq"], document["head"]) == (session.seq, session.head)


def test_status_follows_the_lifecycle(live: Mounted, s: Path) -> None:
    status = s / ".session/status"
    for word in ("suspended", "active", "failed: disk on fire"):
        live.shell(f"echo '{word}' > .session/status", s)
    assert status.read_text() == "failed\n"
    assert json.loads((s / ".session/session.json").read_text())["failure_reason"] == "disk on fire"
    assert [e["kind"].split(".")[1] for e in events(s)] == ["created", "suspended", "resumed", "failed"]
    for word in ("active", "completed", "nonsense", "failed", "", "active: why", "two\nlines"):
        with refused(errno.EINVAL):
            status.write_text(f"{word}\n")
            raise OSError(errno.EINVAL, "what changes nothing need not fail") if word == "failed" else AssertionError
    assert status.read_text() == "failed\n"
    assert len(events(s)) == 4


def test_fields_are_written(live: Mounted, s: Path) -> None:
    parent = live.session(s.name + "-parent")
    control = s / ".session"
    live.shell(f"echo 'a text' > .session/description; printf 'x\\n\\n y \\n' > .session/tags; "
               f"echo {parent.name} > .session/parent", s)  # fmt: skip
    assert (control / "description").read_text() == "a text\n"
    assert (control / "tags").read_text() == "x\ny\n"
    assert (control / "parent").read_text() == (parent / ".session/id").read_text()
    live.shell("echo z >> .session/tags", s)
    assert (control / "tags").read_text() == "x\ny\nz\n"
    live.shell(": > .session/parent; : > .session/tags; : > .session/description", s)
    wait_for(lambda: not any((control / name).read_text() for name in ("parent", "tags", "description")))
    for name, text in (("parent", "nobody"), ("parent", s.name), ("name", "two\nlines"), ("name", "\n")):
        with refused(errno.EINVAL, errno.ENOENT):
            (control / name).write_text(text)
    with refused(errno.EINVAL):
        (control / "description").write_bytes(b"\xff\xfe")
    assert (control / "name").read_text() == f"{s.name}\n"


def test_name_renames_the_directory(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    (s / ".session/name").write_text(f"{s.name}/with a slash\n")
    moved = live.sessions / f"{s.name}%2Fwith a slash"
    wait_for(moved.exists, seconds=2)
    assert (moved / "f").read_text() == "x"
    assert (moved / ".session/name").read_text() == f"{s.name}/with a slash\n"


def test_session_json_is_written_whole_or_not_at_all(live: Mounted, s: Path) -> None:
    path = s / ".session/session.json"
    document: dict[str, Any] = json.loads(path.read_text())
    document |= {"description": "new", "tags": ["t"], "metadata": {"deep": {"er": [1, None, "x"]}}}
    path.write_text(json.dumps(document))
    now = json.loads(path.read_text())
    assert (now["description"], now["tags"], now["metadata"]) == ("new", ["t"], {"deep": {"er": [1, None, "x"]}})
    live.shell("jq '.tags += [\"u\"]' .session/session.json > /tmp/$$.json && cp /tmp/$$.json .session/session.json; "
               "rm /tmp/$$.json", s)  # fmt: skip
    assert (s / ".session/tags").read_text() == "t\nu\n"
    before, seen = path.read_text(), len(events(s))
    for bad in (
        "{", "[]", "null", '{"tags": "x"}', '{"tags": [1]}', '{"metadata": []}', '{"metadata": {"a": NaN}}',
        '{"unknown": 1}', '{"id": "x"}', '{"status": "completed"}', '{"description": "changed", "tags": 5}', '"text"',
        '{"description": null}', '{"name": ""}', '{"dirname": "x"}', '{"description": "changed"} trailing',
    ):  # fmt: skip
        with refused(errno.EINVAL, what=bad):
            path.write_text(bad)
        assert path.read_text() == before, bad
    assert len(events(s)) == seen


def test_what_two_append_at_once_is_both_there(live: Mounted, s: Path) -> None:
    tags = s / ".session/tags"
    tags.write_text("first\n")
    with open(tags, "a") as one, open(tags, "a") as two:
        one.write("one\n")
        two.write("two\n")
        two.flush()
        two.write("three\n")
    assert tags.read_text() == "first\ntwo\nthree\none\n"
    live.shell("for i in 1 2 3 4 5 6 7 8; do echo t$i >> .session/tags & done; wait", s)
    assert set(tags.read_text().split()) == {"first", "one", "two", "three", *(f"t{n}" for n in range(1, 9))}
    with open(tags, "a") as file:
        file.truncate(0)
        file.write("only\n")
    assert tags.read_text() == "only\n"


def test_a_half_written_file_is_applied_when_it_is_closed(live: Mounted, s: Path) -> None:
    path, seen = s / ".session/session.json", len(events(s))
    before = path.read_text()
    with open(path, "wb", buffering=0) as file:
        file.write(b'{"tags": ["whole"], ')
        assert path.read_text() == before
        with refused(errno.EINVAL):
            os.fsync(file.fileno())
        assert path.read_text() == before
        file.write(b'"description": "text"}')
        assert path.read_text() == before
    assert ((s / ".session/tags").read_text(), (s / ".session/description").read_text()) == ("whole\n", "text\n")
    assert len(events(s)) == seen + 1


def test_children_and_parent_are_two_sides(live: Mounted, s: Path) -> None:
    child = live.sessions / f"{s.name}-child"
    (s / ".session/children" / child.name).mkdir()
    assert os.listdir(s / ".session/children") == [child.name]
    assert (child / ".session/parent").read_text() == (s / ".session/id").read_text()
    with refused(errno.EINVAL):
        (s / ".session/parent").write_text(f"{child.name}\n")
    (child / "f").write_text("x")
    assert (s / ".session/children" / child.name / "f").read_text() == "x"
    live.shell(": > .session/parent", child)
    wait_for(lambda: not os.listdir(s / ".session/children"))


def test_the_trail_is_of_exact_size_and_a_chain(live: Mounted, s: Path) -> None:
    from blake3 import blake3

    for number in range(3):
        (s / f"f{number}").write_text("x")
    wait_for(lambda: len(events(s)) == 4)
    path = s / ".session/events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert path.stat().st_size == sum(map(len, lines))
    prev = "0" * 64
    for number, line in enumerate(lines, 1):
        event = json.loads(line)
        assert (event["seq"], event["prev"]) == (number, prev)
        assert (event["actor"], event["door"]) == (f"uid:{os.getuid()}", "mount")
        prev = blake3(line.rstrip(b"\n")).hexdigest()
    assert os.getxattr(s, "user.llmspell.head").decode() == prev
    assert live.shell("wc -l < .session/events.jsonl", s).stdout.strip() == "4"
    with refused(errno.EROFS):
        path.write_text("")


@pytest.mark.parametrize("name", ["id", "events.jsonl"])
def test_what_cannot_be_written_is_erofs(live: Mounted, s: Path, name: str) -> None:
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        with refused(errno.EROFS):
            os.open(s / ".session" / name, flags)


def test_reads_in_pieces_and_huge_writes(live: Mounted, s: Path) -> None:
    (s / ".session/description").write_text("d" * 10_000)
    with open(s / ".session/description", "rb", buffering=0) as file:
        assert b"".join(iter(lambda: file.read(999), b"")) == b"d" * 10_000 + b"\n"
    with refused(errno.EFBIG):
        (s / ".session/description").write_bytes(b"x" * (4 << 20))


def test_a_shell_hears_at_once_of_a_state_that_cannot_be(live: Mounted, s: Path) -> None:
    status = s / ".session/status"
    assert subprocess.run(["bash", "-c", f"echo bogus > {status}"], check=False, capture_output=True).returncode == 1
    assert status.read_text() == "active\n"
    status.write_text("completed\n")
    assert subprocess.run(["bash", "-c", f"echo active > {status}"], check=False, capture_output=True).returncode == 1
    assert status.read_text() == "completed\n"
