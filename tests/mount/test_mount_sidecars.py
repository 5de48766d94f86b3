"""Sidecars: each artifact's metadata as a file beside it, read and written back."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.mount.live import Mounted, events, refused


def sidecar(s: Path, name: str) -> Path:
    return s / ".session/artifacts" / f"{name}.json"


def test_sidecars_mirror_the_artifacts(live: Mounted, s: Path) -> None:
    (s / "a/b").mkdir(parents=True)
    (s / "a/b/c.csv").write_text("1,2\n")
    (s / "top").write_text("x")
    (s / "link").symlink_to("top")
    assert live.shell("cd .session/artifacts && find . -type f | sort", s).stdout == "./a/b/c.csv.json\n./top.json\n"
    document = json.loads(sidecar(s, "a/b/c.csv").read_text())
    assert (document["name"], document["size"], document["mime_type"]) == ("a/b/c.csv", 4, "text/csv")
    assert sidecar(s, "top").stat().st_size == len(sidecar(s, "top").read_bytes())
    for gone in (sidecar(s, "link"), sidecar(s, "none"), s / ".session/artifacts/top"):
        with refused(errno.ENOENT):
            gone.read_text()


def test_a_sidecar_is_written_whole_or_not_at_all(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    path = sidecar(s, "f")
    document = json.loads(path.read_text())
    document |= {"artifact_type": "tool_result", "tags": ["t"], "custom": {"n": 1.5}, "description": "d"}
    path.write_text(json.dumps(document, indent=4))
    now = json.loads(path.read_text())
    assert (now["artifact_type"], now["tags"], now["custom"], now["version"]) == ("tool_result", ["t"], {"n": 1.5}, 1)
    path.write_text('{"tags": ["only"]}')
    now = json.loads(path.read_text())
    assert (now["tags"], now["custom"]) == (["only"], {"n": 1.5})
    before, seen = path.read_text(), len(events(s))
    assert [e["kind"] for e in events(s)][-2:] == ["artifact.updated"] * 2
    for bad in (
        "", "{", "[1]", '{"artifact_type": "Bad Type"}', '{"custom": 3}', '{"tags": ["a", 1]}', '{"size": 7}',
        '{"tags": ["changed"], "name": "other"}', '{"custom": {"x": Infinity}}', '{"nope": 1}', '{"tags": null}',
    ):  # fmt: skip
        if bad:
            with refused(errno.EINVAL, what=bad):
                path.write_text(bad)
        assert path.read_text() == before, bad
    assert len(events(s)) == seen
    assert (s / "f").read_text() == "x"


def test_a_change_of_type_alone_is_a_change(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    for path, field in ((sidecar(s, "f"), "custom"), (s / ".session/session.json", "metadata")):
        for value in (1, True, 1.0, [1], [True], 0.0, -0.0):
            path.write_text(json.dumps({field: {"k": value}}))
            assert repr(json.loads(path.read_text())[field]["k"]) == repr(value)
            seen = len(events(s))
            path.write_text(path.read_text())
            assert len(events(s)) == seen


def test_a_sidecar_of_a_file_being_written_is_applied_to_it(live: Mounted, s: Path) -> None:
    with open(s / "f", "w") as file:
        file.write("one")
        file.flush()
        os.fsync(file.fileno())
        sidecar(s, "f").write_text('{"tags": ["t"]}')
        file.write(" two")
    assert (s / "f").read_text() == "one two"
    assert json.loads(sidecar(s, "f").read_text())["tags"] == ["t"]


def test_sidecars_follow_what_other_doors_do(live: Mounted, s: Path) -> None:
    (s / "d").mkdir()
    (s / "d/f").write_text("one")
    assert json.loads(sidecar(s, "d/f").read_text())["size"] == 3
    with live.open() as door:
        door.artifacts.put(s.name, "d/f", b"longer")
        assert json.loads(sidecar(s, "d/f").read_text())["size"] == 6
        door.artifacts.delete(s.name, "d/f")
        with refused(errno.ENOENT):
            sidecar(s, "d/f").read_text()
        door.sessions.delete(s.name)
        door.sessions.create(s.name)
        door.artifacts.put(s.name, "d/f", b"another session's")
    assert json.loads(sidecar(s, "d/f").read_text())["size"] == 17
    assert os.listdir(sidecar(s, "d/f").parent) == ["f.json"]


def test_sidecars_grant_what_their_artifacts_do(live: Mounted, s: Path) -> None:
    s.chmod(0o1777)
    for name, mode in (("open", 0o666), ("closed", 0o600)):
        (s / name).write_text("x")
        (s / name).chmod(mode)
        assert sidecar(s, name).stat().st_mode & 0o7777 == mode
    assert sidecar(s, "x").parent.stat().st_mode & 0o7777 == 0o1777
    assert sidecar(s, "open").stat().st_uid == os.getuid()
    sidecar(s, "open").chmod(0o666)
    os.chown(sidecar(s, "open"), os.getuid(), -1)
    with refused(errno.EROFS):
        sidecar(s, "open").chmod(0o600)
    with refused(errno.EROFS):
        os.chown(sidecar(s, "open"), os.getuid() + 1, -1)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_somebody_else_neither_reads_nor_replaces_a_closed_sidecar(own: Mounted) -> None:
    for folder in (own.path, *own.path.parents[:3]):
        folder.chmod(0o755)
    own.mount("-o", "allow_other")
    s = own.session("s")
    s.chmod(0o1777)
    (s / "f").write_text("x")
    (s / "f").chmod(0o600)
    script = """cat .session/artifacts/f.json; echo x > .session/artifacts/f.json
    cd .session/artifacts; echo '{"tags": ["x"]}' > t && mv -f t f.json; ls"""
    done = subprocess.run(
        ["bash", "-c", script], cwd=s, user=65534, group=65534, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.stdout.split() == ["f.json", "t"]
    assert [line.rpartition(":")[2] for line in done.stderr.splitlines()] == [
        " Permission denied", " Permission denied", " Operation not permitted",
    ]  # fmt: skip
    assert json.loads(sidecar(s, "f").read_text())["tags"] == []
