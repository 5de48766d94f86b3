"""Editors on control files: however one saves, the content is applied whole, or nothing changes and it hears why."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tests.mount.alike import run
from tests.mount.live import Mounted, events, refused

VIM = "TERM=dumb vim -N -i NONE -u NONE -es -c 'set backupskip='"
"""By default it keeps no backup in folders like those of the tests."""
BAD = "-c '%s/[a-z]/}/g' -c wq"
SED = r's/"description": ".*"/"description": "new"/'
REPLACE = """
import os, tempfile
new, name = tempfile.mkstemp(dir="FOLDER")
with open("FILE", "rb") as old:
    os.write(new, old.read().replace(b"old", b"new"))
os.fsync(new)
os.close(new)
os.replace(name, "FILE")
"""
SAVING = {
    "sed": f"sed -i '{SED}' FILE",
    "sed with a backup": f"sed -i.bak '{SED}' FILE; rm FILE.bak",
    "perl": f"perl -pi -e '{SED}' FILE",
    "perl with a backup": f"perl -pi.bak -e '{SED}' FILE; rm FILE.bak",
    "ed": f"printf ',{SED}\\nw\\nq\\n' | ed -s FILE",
    "vim as it comes": f"TERM=dumb vim -es -c 'set backupskip=' -c '%{SED}' -c wq FILE",
    "vim in place": f"{VIM} -c 'set backupcopy=yes' -c '%{SED}' -c wq FILE",
    "vim by rename": f"{VIM} -c 'set backupcopy=no' -c '%{SED}' -c wq FILE",
    "vim with a backup": f"{VIM} -c 'set backup backupcopy=no' -c '%{SED}' -c wq FILE; rm FILE~",
    "vim without HOME": f"HOME=/proc {VIM} -c '%{SED}' -c wq FILE",
    "sponge": "jq '.description = \"new\"' FILE | sponge FILE",
    "jq and mv": "jq '.description = \"new\"' FILE > FOLDER/new && mv FOLDER/new FILE",
    "jq and cat": "jq '.description = \"new\"' FILE > t; cat t > FILE; rm t",
    "jq and cp": "jq '.description = \"new\"' FILE > t; cp t FILE; cp -p FILE t; cp -p t FILE; rm t",
    "emacs": 'cp FILE FOLDER/t; mv FILE FILE~; sed \'s/"old"/"new"/\' FILE~ > FILE; rm FILE~ FOLDER/t',
    "python": f"python3 -c '{REPLACE}'",
}


@pytest.fixture
def f(s: Path) -> Path:
    """An artifact; it and the session are described as "old"."""
    (s / "f").write_text("x")
    for path in (s, s / "f"):
        os.setxattr(path, "user.llmspell.description", b"old")
    return s / "f"


@pytest.mark.parametrize("file", [".session/session.json", ".session/artifacts/f.json"])
@pytest.mark.parametrize("way", SAVING)
def test_a_document_is_saved(live: Mounted, s: Path, f: Path, way: str, file: str) -> None:
    folder, seen = (s / file).parent, len(events(s))
    listed = sorted(os.listdir(folder))
    run(live, s, SAVING[way].replace("FILE", file).replace("FOLDER", str(Path(file).parent)))
    assert json.loads((s / file).read_text())["description"] == "new"
    assert os.getxattr(s if "session.json" in file else f, "user.llmspell.description") == b"new"
    kinds = [event["kind"] for event in events(s)[seen:] if event.get("name") != "t"]
    assert kinds == ["session.updated" if "session.json" in file else "artifact.updated"]
    assert (s / file).stat().st_size == len((s / file).read_bytes())
    assert sorted(os.listdir(folder)) == listed


def test_fields_are_saved(live: Mounted, s: Path) -> None:
    run(live, s, "cd .session; printf 'a\\nb\\n' > tags; sed -i s/b/c/ tags; sort -ro tags tags; echo d >> tags")
    assert (s / ".session/tags").read_text() == "c\na\nd\n"
    run(
        live,
        s,
        f"cd .session; {VIM} -c 'normal Gonew' -c wq tags; echo one > description; sed -i s/one/two/ description",
    )
    assert (s / ".session/tags").read_text() == "c\na\nd\nnew\n"
    assert (s / ".session/description").read_text() == "two\n"
    run(live, s, "cd .session; sed -i s/active/suspended/ status")
    assert (s / ".session/status").read_text() == "suspended\n"
    run(live, s, "sed -i '$d' .session/tags")
    assert (s / ".session/tags").read_text() == "c\na\nd\n"


@pytest.mark.parametrize("file", ["session.json", "artifacts/f.json", "status"])
def test_what_cannot_be_is_refused_and_leaves_both_as_they_were(live: Mounted, s: Path, f: Path, file: str) -> None:
    path, seen = s / ".session" / file, len(events(s))
    before, listed = path.read_text(), os.listdir(path.parent)
    new = path.parent / "new"
    for bad in ("{", "", "[1]", '{"nope": 1}'):
        new.write_text(bad)
        with open(path) as reader:
            with refused(errno.EINVAL):
                os.rename(new, path)
            assert reader.read() == before
        assert (path.read_text(), new.read_text()) == (before, bad)
    assert path.stat().st_size == len(before)
    for way in ("sed -i 's/[a-z]/}/g'", f"{VIM} {BAD}", f"{VIM} -c 'set backupcopy=no' {BAD}"):
        done = live.shell(f"{way} {path}", s, check=False)
        assert done.returncode, way
        assert path.read_text() == before, way

    new.unlink()
    assert len(events(s)) == seen
    assert sorted(os.listdir(path.parent)) == sorted(listed)


def test_a_control_file_that_is_renamed_away_is_copied(live: Mounted, s: Path, f: Path) -> None:
    for file in (".session/session.json", ".session/artifacts/f.json"):
        path = s / file
        before, away = path.read_text(), path.with_name("away")
        os.rename(path, away)
        assert (path.read_text(), away.read_text()) == (before, before)
        assert away.stat().st_mode == path.stat().st_mode
        os.rename(away, path)
        assert not away.exists()
        assert path.read_text() == before


def test_what_is_no_scratch_file_stays_as_it_is(live: Mounted, s: Path, f: Path) -> None:
    control, sidecars = s / ".session", s / ".session/artifacts"
    (control / "scratch").write_text("x")
    other = live.session(s.name + "-other")
    for old, new in (
        (control / "id", control / "x"), (control / "scratch", control / "id"), (control / "scratch", s / "x"),
        (control / "scratch", other / ".session/x"), (control / "scratch", control / "events.jsonl"),
        (control / "tags", control / "description"), (control / "scratch", sidecars / "none.json"),
        (control / "artifacts", control / "y"), (control / "scratch", sidecars),
        (control / "events.jsonl", control / "x"),
    ):  # fmt: skip
        if old.name == "id":
            os.rename(old, new)
            assert old.read_text() == new.read_text()
            continue
        with refused(errno.EROFS, errno.EISDIR, what=(old, new)):
            os.rename(old, new)
    for path in (control / "tags", control / "events.jsonl", sidecars / "f.json", control):
        with refused(errno.EROFS, errno.EISDIR):
            path.unlink()
    with refused(errno.EROFS):
        (sidecars / "typo.json").write_text("{}")
    with refused(errno.EROFS):
        (control / "folder").mkdir()
    with refused(errno.EROFS):
        (control / "link").symlink_to("tags")
    assert (control / "scratch").read_text() == "x"


def test_scratch_files_are_files(live: Mounted, s: Path, f: Path) -> None:
    path, seen = s / ".session/scratch", len(events(s))
    path.write_bytes(b"0123456789")
    with open(path, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"X", 12)
        os.ftruncate(file.fileno(), 20)
        os.fchmod(file.fileno(), 0o600)
        path.rename(path.with_name("moved"))
        assert os.pread(file.fileno(), 30, 0) == b"0123456789\0\0X" + bytes(7)
        os.unlink(path.with_name("moved"))
        assert os.fstat(file.fileno()).st_size == 20
        os.write(file.fileno(), b"still")
    with open(path, "ab") as one, open(path, "ab") as two:
        one.write(b"a")
        one.flush()
        two.write(b"b")
    os.utime(path, ns=(1, 10**18 + 7))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (b"ab", 10**18 + 7)
    with refused(errno.EEXIST):
        os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with refused(errno.EFBIG):
        os.truncate(path, (2 << 20) + 1)
    with refused(errno.ENAMETOOLONG):
        (s / ".session" / ("x" * 256)).write_text("")
    assert os.listdir(s) == ["f"]
    assert len(events(s)) == seen
    assert live.command("find", "scratch").stdout == ""


def test_scratch_files_are_few_and_of_their_session_and_mount(own: Mounted) -> None:
    own.mount()
    s, other = own.session("s"), own.session("other")
    (other / ".session/kept").write_text("x")
    for number in range(16):
        (s / f".session/scratch{number:02}").write_text("x")
    with refused(errno.EDQUOT):
        (s / ".session/scratch16").write_text("x")
    (s / ".session/scratch03").write_text("again")
    (s / ".session/scratch00").unlink()
    (s / ".session/scratch16").write_text("x")
    left = sorted(name for name in os.listdir(s / ".session") if name.startswith("scratch"))
    assert left == [f"scratch{number:02}" for number in range(1, 17)]
    assert (other / ".session/kept").read_text() == "x"
    own.umount()
    own.mount()
    assert not (other / ".session/kept").exists()
    assert len(events(s)) == 1
