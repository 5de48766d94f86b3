"""What a second user can see of a mount with `allow_other`: no more of the past, the views and the rest than of now."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount.live import Mounted, as_user, mounted_for_everybody

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
STRANGERS = (65534, 1001)
UNSEEN = {"nothing", "nothing.json", "events.jsonl"}
"""What others never see: nothing, and the trail, which names what is in closed folders."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Mounted]:
    with mounted_for_everybody() as mounted:
        yield mounted


@pytest.fixture
def desk(live: Mounted, s: Path) -> Path:
    """A session that everybody may enter: `secret.txt`, `closed/inner.txt` and a child, all open so far."""
    s.chmod(0o755)
    (s / "closed").mkdir()
    (s / "closed/link").symlink_to("where-it-leads")
    for name in ("secret.txt", "closed/inner.txt", "gone.txt"):
        (s / name).write_text(f"first of {name}")
        (s / name).chmod(0o644)
        os.setxattr(s / name, "user.llmspell.tags", b"hush")
        os.setxattr(s / name, "user.key", b"unspeakable")
    live.command("session", "save", s.name)
    for name in ("secret.txt", "closed/inner.txt"):
        (s / name).write_text(f"second of {name}")
    (s / f".session/children/{s.name}-kid").mkdir()
    (s.parent / f"{s.name}-kid/letter").write_text("to my mother")
    return s


def close(s: Path) -> None:
    """Take from others what they had."""
    (s / "gone.txt").unlink()
    (s / "secret.txt").chmod(0o600)
    (s / "closed").chmod(0o700)
    (s.parent / f"{s.name}-kid").chmod(0o700)


def outcomes(uid: int, probes: dict[str, Callable[[], object]]) -> dict[str, object]:
    """Return what each of *probes* finds as the user *uid*, an OSError being its name."""

    def probe() -> object:
        found: dict[str, object] = {}
        for name, call in probes.items():
            try:
                found[name] = call()
            except OSError as error:
                found[name] = errno.errorcode[error.errno or 0]
        return found

    told = as_user(uid, probe)
    assert isinstance(told, dict), told
    return told


def contents(s: Path) -> dict[str, Callable[[], object]]:
    """Every way to the content and the metadata of what `close` closes."""
    c, kid = s / ".session", s.parent / f"{s.name}-kid"
    files = [
        s / "secret.txt", c / "versions/secret.txt/1", c / "versions/secret.txt/2", c / "checkpoints/1/secret.txt",
        c / f"at/{len((c / 'events.jsonl').read_text().splitlines())}/secret.txt", c / "artifacts/secret.txt.json",
        s / "closed/inner.txt", c / "versions/closed/inner.txt/1", c / "checkpoints/1/closed/inner.txt",
        c / "artifacts/closed/inner.txt.json", c / "checkpoints/1/gone.txt", c / "versions/gone.txt/1",
        kid / "letter", kid / ".session/session.json", kid / ".session/events.jsonl",
        kid / ".session/versions/letter/1",
    ]  # fmt: skip
    probes: dict[str, Callable[[], object]] = {str(path.relative_to(s.parent)): path.read_bytes for path in files}
    for path in (s / "secret.txt", c / "checkpoints/1/secret.txt", s / "closed/inner.txt"):
        for name in ("user.key", "user.llmspell.tags", "user.llmspell.hash"):
            probes[f"{name} of {path.relative_to(s)}"] = lambda path=path, name=name: os.getxattr(path, name)  # type: ignore[misc]
    for path in (s / "closed", c / "checkpoints/1/closed", c / "versions/closed", c / "artifacts/closed", kid):
        probes[f"names in {path.relative_to(s.parent)}"] = lambda path=path: os.listdir(path)  # type: ignore[misc]
    for path in (s / "closed/link", c / "checkpoints/1/closed/link"):
        probes[f"target of {path.relative_to(s)}"] = lambda path=path: os.readlink(path)  # type: ignore[misc]
    for path in (s / "closed/inner.txt", s / "closed/nothing", c / "artifacts/closed/nothing.json", kid / "nothing"):
        probes[f"stat of {path.relative_to(s.parent)}"] = lambda path=path: os.stat(path).st_ino  # type: ignore[misc]
    return probes


@pytest.mark.parametrize("uid", STRANGERS)
def test_the_past_and_the_sidecars_grant_no_more_than_the_present(desk: Path, uid: int) -> None:
    """Also at once after the modes have changed, whatever the kernel has in its caches."""
    probes = contents(desk)
    open_to_all = outcomes(uid, {name: call for name, call in probes.items() if not UNSEEN & set(name.split("/"))})
    assert not [name for name, got in open_to_all.items() if isinstance(got, str) and got.startswith("E")], open_to_all
    close(desk)
    now = outcomes(uid, probes)
    assert not {name: got for name, got in now.items() if got != "EACCES" and "stat of" not in name}
    time.sleep(1.1)  # for a second the kernel lets a name be looked up that it could look up before
    later = outcomes(uid, probes)
    assert not {name: got for name, got in later.items() if got != "EACCES"}
    assert (desk / ".session/checkpoints/1/gone.txt").read_text() == "first of gone.txt", "the owner has it all"


@pytest.mark.parametrize("uid", STRANGERS)
def test_views_trails_the_store_and_its_log_are_the_owners(live: Mounted, desk: Path, uid: int) -> None:
    close(desk)
    m = live.path
    places = [
        m / "by-tag", m / "by-tag/hush/artifacts", m / "by-id", m / "by-status/active", m / "by-type/user_input",
        m / "search", m / "search/tag:hush", m / f"search/tag:hush/{desk.name}", live.store, live.store / "spool",
        live.store / "lost+found", live.store / "blobs",
    ]  # fmt: skip
    probes: dict[str, Callable[[], object]] = {str(place): lambda place=place: os.listdir(place) for place in places}  # type: ignore[misc]
    for path in (live.store / "mount.log", live.store / "index.db", live.store / "index.db-wal"):
        probes[str(path)] = path.read_bytes
    probes["trail"] = (desk / ".session/events.jsonl").read_bytes
    probes["guess"] = (m / "by-tag/hush").stat
    assert set(outcomes(uid, probes).values()) == {"EACCES"}


def test_a_stranger_writes_nowhere_that_he_may_not(desk: Path) -> None:
    c = desk / ".session"
    before = (c / "events.jsonl").read_bytes()
    probes: dict[str, Callable[[], object]] = {
        "status": lambda: (c / "status").write_text("completed"),
        "tags": lambda: (c / "tags").write_text("x"),
        "session.json": lambda: (c / "session.json").write_text("{}"),
        "sidecar": lambda: (c / "artifacts/secret.txt.json").write_text("{}"),
        "parent": lambda: (c / "parent").write_text(""),
        "child": (c / "children/mine").mkdir,
        "checkpoint": (c / "checkpoints/mine").mkdir,
        "roll back": lambda: (c / "rollback").write_text("1"),
        "file": lambda: (desk / "new").write_text("x"),
        "xattr": lambda: os.setxattr(desk / "secret.txt", "user.x", b"y"),
        "session's xattr": lambda: os.setxattr(desk, "user.llmspell.status", b"completed"),
        "session": (desk.parent / "mine").mkdir,
        "rename": lambda: desk.rename(desk.parent / "mine"),
        "delete": desk.rmdir,
    }
    got = outcomes(STRANGERS[0], probes)
    assert set(got.values()) <= {"EACCES", "EPERM", "EROFS", "ENOENT"}, got
    assert (c / "events.jsonl").read_bytes() == before


def test_a_users_own_work_is_his_in_the_past_too(desk: Path) -> None:
    desk.chmod(0o777)
    mine, other = STRANGERS

    def work() -> object:
        (desk / "mine").write_text("one")
        os.chmod(desk / "mine", 0o600)
        (desk / "mine").write_text("two")
        return (desk / ".session/versions/mine/1").read_text(), (desk / ".session/artifacts/mine.json").read_text()[:1]

    assert as_user(mine, work) == ("one", "{")
    theirs: dict[str, Callable[[], object]] = {
        "now": (desk / "mine").read_text,
        "then": (desk / ".session/versions/mine/1").read_text,
        "sidecar": (desk / ".session/artifacts/mine.json").read_text,
    }
    assert set(outcomes(other, theirs).values()) == {"EACCES"}


HOSTILE = (
    "two\nlines", "2026-11-21 00:00:00,000 1 ERROR forged: yes", "\x1b[2Jcleared", "\u202egnp.exe",
    "\x7f\x85\u2028\u2029",
    "carriage\rreturn", "%s%n{0}", "tab\tand\x0bvt",
)  # fmt: skip


def test_no_name_breaks_the_log_into_lines_and_no_content_gets_into_it(live: Mounted, s: Path) -> None:
    live.may_fail = True
    with live.open() as door:
        for number, name in enumerate(HOSTILE):
            writer = os.open(s / name, os.O_CREAT | os.O_WRONLY)
            os.write(writer, b"CONTENT-BYTES" * 10)
            door.sessions.suspend(s.name)
            with pytest.raises(OSError, match="Read-only"):
                os.close(writer)
            door.sessions.resume(s.name)
            with pytest.raises(OSError, match=r"."):
                os.listdir(live.path / "search" / f"bogus:{name}")
            with pytest.raises(OSError, match=r"."):
                (s / ".session/status").write_text(f"{name}{number}")
        for item in door.upkeep.lost():
            assert item.name in HOSTILE
        text = live.log.read_bytes()
        names = [item.id for item in door.upkeep.lost()]
    assert len(names) == len(HOSTILE)
    news = text.decode("utf-8")[live.checked :]
    assert news.count("\n") >= len(HOSTILE)
    for line in news.split("\n")[:-1]:
        assert line.isprintable()
        assert line[:4].isdecimal(), line
        assert line[4] == "-", line
    assert not [line for line in news.splitlines() if " ERROR forged: yes" in line and not line.split("WARNING")[0]]
    assert b"CONTENT-BYTES" not in text
