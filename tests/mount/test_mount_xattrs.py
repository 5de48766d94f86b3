"""Extended attributes: fields, aliases and custom metadata, both ways, and the tools that carry them."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tests.mount.live import Mounted, attribute, events, refused


def _custom(s: Path, name: str) -> object:
    return json.loads((s / ".session/artifacts" / f"{name}.json").read_text())["custom"]


@pytest.fixture
def f(s: Path) -> Path:
    (s / "f.txt").write_text("content")
    return s / "f.txt"


def test_fields_of_an_artifact(live: Mounted, s: Path, f: Path) -> None:
    assert os.listxattr(f) == []
    for name, value in (("type", b"tool_result"), ("mime_type", b"text/x-odd"), ("description", "für dich".encode())):
        os.setxattr(f, f"user.llmspell.{name}", value)
        assert os.getxattr(f, f"user.llmspell.{name}") == value
    os.setxattr(f, "user.llmspell.tags", b"b, a\nc")
    assert attribute(f, "xdg.tags") == attribute(f, "llmspell.tags") == "b,a,c"
    assert attribute(f, "mime_type") == "text/x-odd"
    assert attribute(f, "xdg.comment") == "für dich"
    assert sorted(os.listxattr(f)) == [f"user.llmspell.{n}" for n in ("description", "mime_type", "tags", "type")]
    os.setxattr(f, "user.xdg.tags", b'["with, comma"]')
    assert json.loads(attribute(f, "llmspell.tags")) == ["with, comma"]
    for name in ("user.llmspell.type", "user.mime_type", "user.xdg.comment", "user.xdg.tags"):
        os.removexattr(f, name)
    assert os.listxattr(f) == []
    assert (attribute(f, "llmspell.type"), attribute(f, "llmspell.mime_type")) == ("user_input", "text/plain")


def test_facts_are_read_by_name_only(live: Mounted, s: Path, f: Path) -> None:
    session_id = (s / ".session/id").read_text().strip()
    digest = attribute(f, "llmspell.hash")
    assert attribute(f, "llmspell.id") == f"{session_id}/1/{digest}"
    assert (attribute(f, "llmspell.version"), attribute(f, "llmspell.size")) == ("1", "7")
    assert attribute(f, "llmspell.created_at").startswith("20")
    assert int(attribute(f, "llmspell.stored_size")) > 0
    for name in ("id", "hash", "version", "size", "nonsense"):
        with refused(errno.EPERM):
            os.setxattr(f, f"user.llmspell.{name}", b"x")
    with refused(errno.ENODATA):
        os.getxattr(f, "user.llmspell.nonsense")
    with refused(errno.EINVAL):
        os.setxattr(f, "user.llmspell.type", b"Not A Type")
    with refused(errno.EINVAL):
        os.setxattr(f, "user.llmspell.description", b"\xff")


VALUES = [
    (b"jane", "jane"), (b"", ""), (b"5", 5), (b"5.5", 5.5), (b"true", True), (b"null", None), (b'"5"', "5"),
    (b'"quoted"', "quoted"), (b'{"a": [1, 2]}', {"a": [1, 2]}), (b"[1", "[1"), ("ünï".encode(), "ünï"),
    (b" spaced ", " spaced "), (b"NaN", "NaN"), (b"new\nline", "new\nline"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "value"), VALUES, ids=[repr(raw) for raw, _ in VALUES])
def test_custom_metadata_both_ways(live: Mounted, s: Path, f: Path, raw: bytes, value: object) -> None:
    os.setxattr(f, "user.key", raw)
    assert _custom(s, "f.txt") == {"key": value}
    again = os.getxattr(f, "user.key")
    os.setxattr(f, "user.copy", again)
    assert _custom(s, "f.txt") == {"key": value, "copy": value}
    if raw != b'"quoted"':
        assert again == raw
    assert sorted(os.listxattr(f)) == ["user.copy", "user.key"]


def test_bytes_that_are_no_text_are_kept(live: Mounted, s: Path, f: Path) -> None:
    os.setxattr(f, "user.raw", bytes(range(256)))
    assert os.getxattr(f, "user.raw") == bytes(range(256))
    assert (s / ".session/artifacts/f.txt.json").read_bytes()
    (s / ".session/artifacts/f.txt.json").write_bytes((s / ".session/artifacts/f.txt.json").read_bytes())
    assert os.getxattr(f, "user.raw") == bytes(range(256))


def test_create_and_replace_flags(live: Mounted, s: Path, f: Path) -> None:
    for path, name, value in ((f, "user.k", b"v"), (f, "user.llmspell.type", b"tool_result"), (s, "user.k", b"v")):
        with refused(errno.ENODATA):
            os.setxattr(path, name, value, os.XATTR_REPLACE)
        os.setxattr(path, name, value, os.XATTR_CREATE)
        with refused(errno.EEXIST):
            os.setxattr(path, name, value, os.XATTR_CREATE)
        os.setxattr(path, name, value, os.XATTR_REPLACE)
        os.removexattr(path, name)
        with refused(errno.ENODATA):
            os.removexattr(path, name)


def test_sessions_have_fields_and_metadata(live: Mounted, s: Path) -> None:
    parent = live.session(s.name + "-parent")
    assert os.listxattr(s) == []
    os.setxattr(s, "user.llmspell.description", b"text")
    os.setxattr(s, "user.xdg.tags", b"a,b")
    os.setxattr(s, "user.llmspell.parent", parent.name.encode())
    os.setxattr(s, "user.budget", b"12")
    assert sorted(os.listxattr(s)) == [
        "user.budget", "user.llmspell.description", "user.llmspell.parent", "user.llmspell.tags",
    ]  # fmt: skip
    assert json.loads((s / ".session/session.json").read_text())["metadata"] == {"budget": 12}
    assert attribute(s, "llmspell.id") == (s / ".session/id").read_text().strip()
    assert (attribute(s, "llmspell.status"), attribute(s, "llmspell.artifact_count")) == ("active", "0")
    os.setxattr(s, "user.llmspell.status", b"suspended")
    assert (s / ".session/status").read_text() == "suspended\n"
    with refused(errno.EINVAL):
        os.setxattr(s, "user.llmspell.status", b"sleeping")
    os.setxattr(s, "user.llmspell.status", b"active")
    for name in os.listxattr(s):
        os.removexattr(s, name)
    assert os.listxattr(s) == []
    with refused(errno.EPERM, errno.EOPNOTSUPP):
        os.setxattr(s, "user.llmspell.id", b"x")


def test_other_namespaces_are_not_supported(live: Mounted, s: Path, f: Path) -> None:
    for name in ("trusted.x", "security.x", "system.x"):
        with refused(errno.EOPNOTSUPP):
            os.setxattr(f, name, b"x")
        with refused(errno.ENODATA, errno.EOPNOTSUPP):
            os.getxattr(f, name)
    with refused(errno.ENODATA):
        os.getxattr(f, "user.none")
    (s / "d").mkdir()
    with refused(errno.EOPNOTSUPP):
        os.setxattr(s / "d", "user.k", b"v")
    assert os.listxattr(s / "d") == []


TAR = "tar --xattrs -cf /tmp/$$.tar f.txt && mkdir x && tar --xattrs -xf /tmp/$$.tar -C x"
CARRIERS = {
    "cp -a": "cp -a f.txt copy",
    "rsync -aX": "rsync -aX f.txt copy",
    "tar --xattrs": f"{TAR} && mv x/f.txt copy && rm /tmp/$$.tar",
}


@pytest.mark.parametrize("way", CARRIERS)
def test_tools_carry_metadata(live: Mounted, s: Path, f: Path, way: str) -> None:
    wanted = {
        "user.llmspell.type": b"agent_output", "user.llmspell.tags": b"a,b", "user.llmspell.description": b"text",
        "user.author": b"jane", "user.n": b"5", "user.raw": b"\xff\x00\xfe",
    }  # fmt: skip
    for name, value in wanted.items():
        os.setxattr(f, name, value)
    done = live.shell(CARRIERS[way], s)
    assert done.stderr == ""
    got = {name: os.getxattr(s / "copy", name) for name in os.listxattr(s / "copy")}
    if got.pop("user.llmspell.mime_type", b"text/plain") != b"text/plain":
        raise AssertionError(got)
    assert got == wanted
    assert (s / "copy").read_text() == "content"


def test_metadata_goes_out_and_comes_in_again(live: Mounted, s: Path, f: Path, tmp_path: Path) -> None:
    os.setxattr(f, "user.author", b"jane")
    os.setxattr(f, "user.llmspell.tags", b"a,b")
    live.shell(f"cp -a f.txt {tmp_path}/out", s)
    out = tmp_path / "out"
    try:
        assert os.getxattr(out, "user.author") == b"jane"
    except OSError:
        pytest.skip("the file system of the temporary folder keeps no user attributes")
    live.shell(f"cp -a {out} back", s)
    assert (attribute(s / "back", "author"), attribute(s / "back", "xdg.tags")) == ("jane", "a,b")


def test_attributes_of_a_file_that_is_still_written(live: Mounted, s: Path) -> None:
    with open(s / "f", "w") as file:
        os.setxattr(s / "f", "user.k", b"v")
        os.setxattr(file.fileno(), "user.llmspell.type", b"tool_result")
        assert os.getxattr(s / "f", "user.k") == b"v"
        file.write("x")
        file.flush()
        os.setxattr(s / "f", "user.late", b"2")
    assert (attribute(s / "f", "k"), attribute(s / "f", "llmspell.type")) == ("v", "tool_result")
    assert attribute(s / "f", "late") == "2"
    assert attribute(s / "f", "llmspell.version") == "1"


def test_a_save_by_rename_keeps_the_metadata(live: Mounted, s: Path, f: Path) -> None:
    os.setxattr(f, "user.author", b"jane")
    os.setxattr(f, "user.llmspell.tags", b"a")
    live.shell("echo new > .tmp && mv .tmp f.txt", s)
    assert (attribute(f, "author"), attribute(f, "llmspell.tags"), attribute(f, "llmspell.version")) == (
        "jane",
        "a",
        "2",
    )


def test_setting_what_is_set_makes_no_event(live: Mounted, s: Path, f: Path) -> None:
    os.setxattr(f, "user.k", b"v")
    seen = len(events(s))
    os.setxattr(f, "user.k", b"v")
    assert len(events(s)) == seen


def test_too_small_a_buffer_is_erange(live: Mounted, s: Path, f: Path) -> None:
    import ctypes

    os.setxattr(f, "user.k", b"0123456789")
    libc = ctypes.CDLL(None, use_errno=True)
    small = ctypes.create_string_buffer(4)
    assert libc.getxattr(os.fsencode(f), b"user.k", small, 4) == -1
    assert ctypes.get_errno() == errno.ERANGE
    assert libc.getxattr(os.fsencode(f), b"user.k", None, 0) == 10
    assert libc.listxattr(os.fsencode(f), small, 4) == -1
    assert ctypes.get_errno() == errno.ERANGE
