"""Extended attributes at their limits: sizes, names, types, other namespaces, and a whole tree's carried over."""

from __future__ import annotations

import ctypes
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.mount.alike import SOURCES, run
from tests.mount.live import Mounted, attribute, events, refused

KIB64 = 1 << 16


@pytest.fixture
def f(s: Path) -> Path:
    (s / "f.txt").write_text("content")
    return s / "f.txt"


def sidecar(s: Path, change: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the sidecar of f.txt, after writing *change* to it."""
    path = s / ".session/artifacts/f.txt.json"
    if change is not None:
        path.write_text(json.dumps(change))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_values_of_up_to_64_kib(live: Mounted, s: Path, f: Path) -> None:
    for path in (f, s):
        for value in (b"\xff" + os.urandom(KIB64 - 1), b"x" * KIB64, b"[" * KIB64, b'"' + b"x" * (KIB64 - 2) + b'"'):
            os.setxattr(path, "user.big", value)
            assert os.getxattr(path, "user.big") == (value.strip(b'"') if value[:1] == b'"' else value)
        with refused(errno.E2BIG):
            os.setxattr(path, "user.big", b"x" * (KIB64 + 1))
        os.setxattr(path, "user.empty", b"")
        assert os.getxattr(path, "user.empty") == b""
        assert sorted(os.listxattr(path)) == ["user.big", "user.empty"]
    os.setxattr(f, "user.llmspell.description", b"d" * KIB64)
    assert len(os.getxattr(f, "user.xdg.comment")) == KIB64


def test_a_value_that_no_attribute_can_hold_is_in_the_sidecar_only(live: Mounted, s: Path, f: Path) -> None:
    sidecar(s, {"custom": {"huge": "x" * (KIB64 + 1), "small": 1, "": 2, "x" * 251: 3, "nul\0": 4, "mime_type": 5}})
    assert os.listxattr(f) == ["user.small"]
    with refused(errno.E2BIG):
        os.getxattr(f, "user.huge")
    live.shell("cp -a f.txt copy; rsync -aX f.txt again; tar --xattrs -cf a.tar f.txt; getfattr -d f.txt", s)
    assert attribute(s / "again", "small") == "1"
    assert attribute(f, "mime_type") == "text/plain"
    os.setxattr(f, "user.other", b"1")
    assert sidecar(s)["custom"]["huge"] == "x" * (KIB64 + 1)


def test_more_names_than_can_be_listed_do_no_harm(live: Mounted, s: Path, f: Path) -> None:
    names = [f"{number:0200}" for number in range(400)]
    sidecar(s, {"custom": dict.fromkeys(names, 1)})
    listed = os.listxattr(f)
    assert listed == [f"user.{name}" for name in names[: len(listed)]]
    assert 300 < len(listed) < 400
    assert attribute(f, names[-1]) == "1"
    assert len(run(live, s, "getfattr -d f.txt").splitlines()) == len(listed) + 2


@pytest.mark.parametrize("buffer", ["value", "list"])
def test_too_small_a_buffer_is_erange(live: Mounted, s: Path, f: Path, buffer: str) -> None:
    libc, path = ctypes.CDLL(None, use_errno=True), os.fsencode(f)
    os.setxattr(f, "user.key", b"0123456789")
    words = (path, b"user.key") if buffer == "value" else (path,)
    call = libc.getxattr if buffer == "value" else libc.listxattr
    size = call(*words, None, 0)
    assert size == (10 if buffer == "value" else len(b"user.key\0"))
    for room, code in ((1, errno.ERANGE), (size - 1, errno.ERANGE), (size, 0), (size + 1, 0)):
        ctypes.set_errno(0)
        assert call(*words, ctypes.create_string_buffer(room), room) == (-1 if code else size)
        assert ctypes.get_errno() == code


def test_keys_with_odd_characters(live: Mounted, s: Path, f: Path) -> None:
    names = ["ünï", "a b", "a.b", "=", '"', "\\", "new\nline", "xdg.other", "llmspell", "LLMSPELL.type", "x" * 250]
    for number, name in enumerate(names):
        os.setxattr(f, f"user.{name}", str(number).encode())
    assert sidecar(s)["custom"] == {name: number for number, name in enumerate(names)}
    assert sorted(os.listxattr(f)) == sorted(f"user.{name}" for name in names)
    with refused(errno.EILSEQ):
        os.setxattr(os.fsencode(f), b"user.\xff", b"x")
    with refused(errno.ERANGE):
        os.setxattr(f, "user." + "x" * 251, b"x")
    with refused(errno.EINVAL, errno.EOPNOTSUPP):
        os.setxattr(f, "user.", b"x")
    run(live, s, "cp -a f.txt copy")
    assert sorted(os.listxattr(s / "copy")) == sorted(os.listxattr(f))


VALUES: list[object] = [
    5,
    -1.5,
    2**70,
    1e300,
    1e22,
    True,
    None,
    "5",
    "true",
    "1.10",
    "",
    [],
    {"a": [1.0, None]},
    0.1,
    -0.0,
]


@pytest.mark.parametrize("value", VALUES)
def test_types_survive_being_written_back(live: Mounted, s: Path, f: Path, value: object) -> None:
    sidecar(s, {"custom": {"k": value}})
    seen = len(events(s))
    os.setxattr(f, "user.k", os.getxattr(f, "user.k"))
    assert repr(sidecar(s)["custom"]["k"]) == repr(value)
    assert len(events(s)) == seen
    os.setxattr(f, "user.copy", os.getxattr(f, "user.k"))
    assert repr(sidecar(s)["custom"]["copy"]) == repr(value)


@pytest.mark.parametrize("raw", [*b'1.10 1e400 1E5 -0 007 "\xff" { NaN \0\0'.split(), b"9" * 400, b"5\n"])
def test_what_json_would_change_is_text(live: Mounted, s: Path, f: Path, raw: bytes) -> None:
    os.setxattr(f, "user.k", raw)
    assert os.getxattr(f, "user.k") == raw
    assert isinstance(sidecar(s)["custom"]["k"], str)


def test_the_kernels_own_names_cost_nothing(live: Mounted, s: Path, f: Path) -> None:
    for path in (f, s, s / ".session/tags", s / ".session", live.path, live.sessions):
        for name, codes in (
            ("security.capability", (errno.ENODATA, errno.EOPNOTSUPP)),
            ("security.selinux", (errno.ENODATA, errno.EOPNOTSUPP)),
            ("system.posix_acl_access", (errno.ENODATA, errno.EOPNOTSUPP)),
            ("trusted.x", (errno.ENODATA, errno.EOPNOTSUPP)),
        ):
            with refused(*codes, what=(path, name)):
                os.getxattr(path, name)
            with refused(errno.EOPNOTSUPP, errno.ENODATA, errno.EPERM, errno.EINVAL, what=(path, name)):
                os.removexattr(path, name)
        assert [name for name in os.listxattr(path) if not name.startswith("user.")] == []
    with refused(errno.EOPNOTSUPP):
        os.setxattr(f, "system.posix_acl_access", b"\x02\0\0\0")
    run(live, s, "chmod u+s f.txt; echo x >> f.txt; ls -lZ f.txt > /dev/null || true")


def test_a_session_changes_state_by_attribute(live: Mounted, s: Path, f: Path) -> None:
    run(live, s, f"setfattr -n user.llmspell.status -v suspended {s}")
    with refused(errno.EROFS):
        os.setxattr(f, "user.k", b"v")
    with refused(errno.EROFS):
        os.setxattr(s, "user.k", b"v")
    os.setxattr(s, "user.llmspell.tags", b"hold")
    for status in ("active", "failed: why"):
        run(live, s, f"setfattr -n user.llmspell.status -v '{status}' {s}")
    assert attribute(s, "llmspell.failure_reason") == "why"
    with refused(errno.EINVAL):
        os.setxattr(s, "user.llmspell.status", b"active")
    assert [event["kind"].partition(".")[2] for event in events(s)] == [
        "created", "stored", "suspended", "updated", "resumed", "failed",
    ]  # fmt: skip


def test_a_session_takes_a_name_and_no_cycle_of_parents(live: Mounted, s: Path) -> None:
    child = live.session(s.name + "-child")
    os.setxattr(child, "user.llmspell.parent", s.name.encode())
    with refused(errno.EINVAL):
        os.setxattr(s, "user.llmspell.parent", child.name.encode())
    with refused(errno.ENOENT):
        os.setxattr(s, "user.llmspell.parent", b"nobody")
    os.setxattr(child, "user.llmspell.name", f"{s.name}-renamed".encode())
    renamed = live.sessions / f"{s.name}-renamed"
    assert attribute(renamed, "llmspell.name") == renamed.name
    assert "user.llmspell.name" not in os.listxattr(renamed)
    os.removexattr(renamed, "user.llmspell.parent")
    with refused(errno.ENODATA):
        os.getxattr(renamed, "user.llmspell.parent")


def test_a_trees_attributes_are_dumped_and_restored(live: Mounted, s: Path) -> None:
    values = {
        "author": "jané", "n": "5", "v": "1.10", "doc": '{"a": [1, 2.5]}', "raw": "0sAP/+", "empty": '""',
        "llmspell.type": "tool_result", "llmspell.tags": "a,b", "xdg.comment": "two words",
    }  # fmt: skip
    run(live, s, SOURCES)
    for name, value in values.items():
        run(live, s, f"setfattr -n user.{name} -v '{value}' src/words src/sub/data.json")
    run(live, s, "getfattr -R -d src > dump; cp -r src copy; sed -i 's,# file: src,# file: copy,' dump")
    run(live, s, "setfattr --restore=dump; getfattr -R -d copy > again; cmp dump again")
    documents = [json.loads((s / f".session/artifacts/{path}/words.json").read_text()) for path in ("src", "copy")]
    for field in ("custom", "tags", "description", "artifact_type", "mime_type"):
        assert documents[0][field] == documents[1][field]
    assert documents[0]["custom"]["doc"] == {"a": [1, 2.5]}
