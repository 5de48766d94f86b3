"""History as directories with real tools and real users: whole, read-only, and no more than the present grants."""

from __future__ import annotations

import errno
import mmap
import os
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mount.live import Calls, Mounted, events, mounted_for_everybody, refused, wait_for
from tests.mount.test_mount_owners import acting_as

if TYPE_CHECKING:
    from collections.abc import Iterator

JANE, JOE, STAFF = 1001, 1002, 2001
DAY = 86_400 * 10**9
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


@pytest.fixture(scope="module")
def shared() -> Iterator[Mounted]:
    """A mount for everybody, where everybody can reach it."""
    with mounted_for_everybody() as mounted:
        yield mounted


@pytest.fixture
def old(live: Mounted, s: Path, tmp_path: Path) -> Path:
    """A session with one checkpoint, whose files have all gone other ways since; a copy of then is `tmp_path/copy`."""
    live.shell(
        """
        mkdir -p d/e empty; echo one > d/e/a; head -c 3000000 /dev/urandom > big; echo two > 'b c'; ln -s 'b c' link
        setfattr -n user.key -v value d/e/a; setfattr -n user.llmspell.tags -v red 'b c'; printf x > same
        """,
        s,
    )
    save(live, s)
    live.shell(f"cp -a --preserve=xattr . {tmp_path}/copy", s)
    live.shell(
        """
        mv d moved; rm 'b c'; mkdir 'b c'; echo new > moved/e/a; truncate -s 5 big; rmdir empty; ln -sfn nowhere link
        setfattr -x user.key moved/e/a; mv same moved/e/
        """,
        s,
    )
    return s


def save(live: Mounted, session: Path) -> None:
    with live.open() as store:
        store.sessions.save(session.name)


def seq(session: Path) -> int:
    return int(events(session)[-1]["seq"])


def test_a_checkpoint_is_the_copy_made_then_with_every_tool(live: Mounted, old: Path, tmp_path: Path) -> None:
    live.shell(
        f"""
        set -ex
        past=.session/checkpoints/1; copy={tmp_path}/copy
        diff -r --no-dereference $copy $past
        diff -r --no-dereference $copy .session/at/{seq_of_checkpoint(old)}
        cp -a --preserve=xattr $past {tmp_path}/cp; diff -r --no-dereference $copy {tmp_path}/cp
        rsync -aX $past/ {tmp_path}/rsync; diff -r --no-dereference $copy {tmp_path}/rsync
        test -z "$(rsync -aXni $past/ {tmp_path}/rsync)"
        mkdir {tmp_path}/tar; tar --xattrs -cf - -C $past . | tar --xattrs -xf - -C {tmp_path}/tar
        diff -r --no-dereference $copy {tmp_path}/tar
        for made in cp rsync tar; do
            test "$(getfattr --only-values -n user.key {tmp_path}/$made/d/e/a)" = value
            test "$(getfattr --only-values -n user.llmspell.tags "{tmp_path}/$made/b c")" = red
        done
        diff <(cd $copy && find . -type f -printf '%P %s %n\\n' -o -printf '%P %y\\n' | sort) \
             <(cd $past && find . -type f -printf '%P %s %n\\n' -o -printf '%P %y\\n' | sort)
        test "$(grep -rlI two $past)" = "$past/b c"
        test "$(du -s --apparent-size -B1 $past/big | cut -f1)" = 3000000
        ! cmp -s big $past/big
        """,
        old,
    )


def seq_of_checkpoint(session: Path) -> int:
    return int(next(event["seq"] for event in events(session) if event["kind"] == "session.saved"))


def test_a_live_file_and_its_past_are_two_files_to_diff_and_cmp(live: Mounted, s: Path) -> None:
    (s / "f").write_text("one")
    save(live, s)
    past = s / ".session/checkpoints/1/f"
    assert (past.stat().st_ino, past.stat().st_nlink) != ((s / "f").stat().st_ino, 1)
    assert past.stat().st_nlink == 1
    (s / "f").write_text("two")
    assert live.shell("diff -q f .session/checkpoints/1/f; cmp f .session/checkpoints/1/f", s, check=False).returncode
    assert (past.read_text(), past.stat().st_size) == ("one", 3)


def test_the_past_may_be_mapped(live: Mounted, s: Path) -> None:
    content = os.urandom(300_000)
    (s / "f").write_bytes(content)
    save(live, s)
    (s / "f").write_bytes(b"new")
    with (s / ".session/checkpoints/1/f").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert view[:] == content


def _changes(top: Path, file: Path, folder: Path, old: Path) -> Calls:
    """Return calls that would change the past at *top*, or take from it."""
    return (
        lambda: os.close(os.open(file, os.O_WRONLY)),
        lambda: os.close(os.open(file, os.O_RDWR)),
        lambda: os.close(os.open(file, os.O_RDONLY | os.O_TRUNC)),
        lambda: os.close(os.open(top / "new", os.O_CREAT | os.O_WRONLY)),
        lambda: os.truncate(file, 0),
        file.unlink,
        lambda: os.rename(file, top / "other"),
        lambda: os.rename(file, top / "link"),
        lambda: os.rename(file, old / "stolen"),
        lambda: os.rename(folder, old / "stolen"),
        lambda: os.rename(top, old / "stolen"),
        lambda: os.rename(old / "mine", top / "mine"),
        lambda: os.rename(old / "mine", file),
        (top / "new").mkdir,
        folder.rmdir,
        top.rmdir,
        lambda: (top / "new").symlink_to("x"),
        lambda: file.chmod(0o600),
        lambda: folder.chmod(0o700),
        lambda: os.chown(file, JANE, JANE),
        lambda: os.utime(file, ns=(1, 1)),
        lambda: os.utime(folder),
        lambda: os.setxattr(file, "user.key", b"v"),
        lambda: os.setxattr(top, "user.llmspell.tags", b"v"),
        lambda: os.removexattr(file, "user.key"),
        lambda: (top / ".session/tags").write_text("x\n"),
        lambda: (top / ".session/status").write_text("completed\n"),
        lambda: (top / ".session/artifacts/big.json").write_text("{}"),
        (top / ".session/new").touch,
    )


def test_no_call_changes_the_past(live: Mounted, old: Path, tmp_path: Path) -> None:
    (old / "mine").write_text("x")
    before = seq(old)
    control = old / ".session"
    for top in (control / "checkpoints/1", control / f"at/{seq_of_checkpoint(old)}", control / "at/2099-01-01"):
        file, folder = (top / "big", top / "d") if "2099" not in top.name else (top / "big", top / "moved")
        calls = _changes(top, file, folder, old)
        for number, call in enumerate(calls):
            with refused(errno.EROFS, what=(top.name, number)):
                call()
        with refused(errno.EROFS, errno.EPERM):
            os.link(file, old / "hard")
    live.shell(
        "cd .session; rm -rf checkpoints/1 at versions; mv at/3/* checkpoints/1/* versions/big ..; true",
        old,
    )
    assert seq(old) == before
    assert sorted(os.listdir(old)) == ["b c", "big", "link", "mine", "moved"]
    assert live.shell(f"diff -r --no-dereference {tmp_path}/copy .session/checkpoints/1", old).stdout == ""


def test_ages_and_future_dates_show_what_was_written_a_moment_ago(live: Mounted, s: Path) -> None:
    """Never what the kernel still holds of what they showed before."""
    (s / "d").mkdir()
    past = [s / f".session/at/{name}/d/f" for name in ("0s", "2099-12-31")]
    for number in range(1, 9):
        content = bytes([64 + number]) * (5000 * (9 - number) if number % 2 else 3 * number)
        (s / "d/f").write_bytes(content)
        wait_for(lambda awaited=number + 2: seq(s) == awaited, lambda: events(s)[-1])  # type: ignore[misc]
        for path in past:
            assert path.read_bytes() == content


def test_versions_are_there_once_a_file_is_closed(live: Mounted, s: Path) -> None:
    done = live.shell(
        """
        set -e
        echo one > f; sed -i s/one/two/ f; cp f f.new; echo three > f.new; mv f.new f; touch f; chmod 600 f
        printf '%s\\n' 3i inserted . wq > /dev/null; setfattr -n user.k -v v f; cp f same; mv same f
        cat .session/events.jsonl > /dev/null
        ls .session/versions/f; cat .session/versions/f/*
        rm f; mkdir f; echo in > f/g; cat .session/events.jsonl > /dev/null
        ls .session/versions/f; cat .session/versions/f/g/1
        """,
        s,
    )
    assert done.stdout.split() == ["1", "2", "3", "one", "two", "three", "1", "2", "3", "g", "in"]


# what no longer exists


def _shift(live: Mounted, days: int) -> None:
    """Make what is in the store, or was *days* ago, *days* younger; older for a negative number."""
    by = days * DAY
    until = time.time_ns() - max(0, by - DAY)
    index = sqlite3.connect(live.store / "index.db")
    for table, column in (("event", "at_ns"), ("checkpoint", "at_ns")):
        index.execute(f"UPDATE {table} SET {column} = {column} + {by} WHERE {column} < {until}")
    index.commit()
    index.close()


def test_below_the_horizon_nothing_is_there_and_a_checkpoint_is(own: Mounted) -> None:
    own.mount()
    s = own.session("s")
    (s / "f").write_text("one")
    save(own, s)
    copy = {path.name: path.read_text() for path in (s / ".session/checkpoints/1").iterdir()}
    (s / "f").write_text("two")
    (s / "g").write_text("gone")
    (s / "g").unlink()
    wait_for(lambda: len(events(s)) == 6, lambda: events(s))
    own.umount()
    _shift(own, -40)
    own.mount()
    (s / "f").write_text("three")
    assert min(os.listdir(s / ".session/at"), key=int) == "1"
    own.command("gc")
    control = s / ".session"
    assert not (control / "at/1").exists()
    assert not (control / "at/2").exists()
    assert {path.name: path.read_text() for path in (control / "checkpoints/1").iterdir()} == copy == {"f": "one"}
    assert (control / "at/3/f").read_text() == "one"
    assert [path.read_text() for path in sorted((control / "versions/f").iterdir())] == ["one", "two", "three"]
    assert not (control / "versions/g").exists()
    own.umount()
    _shift(own, 40)  # lines say when they were written


def test_what_is_purged_while_it_is_open_is_an_error_or_the_same_bytes(live: Mounted, s: Path) -> None:
    content = os.urandom(5 << 20)
    (s / "f").write_bytes(content)
    save(live, s)
    with (s / ".session/checkpoints/1/f").open("rb") as file:
        assert file.read(10) == content[:10]
        live.command("artifact", "purge", f"{s.name}:f", "--yes", check=False)
        live.may_fail = True
        try:
            assert file.read() == content[10:]
        except OSError as error:
            assert error.errno in {errno.EIO, errno.ENOENT}  # noqa: PT017 - it need not be one
    wait_for(lambda: not (s / ".session/checkpoints/1/f").exists())
    assert not (s / ".session/versions/f").exists()


# other users


SECRET = "hidden words"


def _readable(live: Mounted, session: Path, tops: list[str]) -> str:
    """Return all that another user finds below *tops*: content, attributes, sidecars, and the names in folders."""
    script = "; ".join(
        f"cd {session} && grep -rs . {top}; getfattr -Rd {top}; find {top} -mindepth 2; grep -rs . {top}/.session"
        for top in tops
    )
    words = ["setpriv", "--reuid", str(JOE), "--regid", str(JOE), "--groups", str(STAFF), "bash", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/", timeout=60)
    return "\n".join(line for line in done.stdout.splitlines() if "events.jsonl" not in line)


@as_root
def test_the_past_grants_others_no_more_than_the_present(live: Mounted, s: Path) -> None:
    other = live.session(f"{s.name}-other")
    s.chmod(0o755)
    names = ["stricter", "chowned", "into", "in/file", "gone", "rmdir/file", "over", "away", "up/file", "reuse/file"]
    for name in names:
        (s / name).parent.mkdir(exist_ok=True)
        (s / name).write_text(f"{SECRET} {name}")
        os.setxattr(s / name, "user.secret", SECRET.encode())
    (s / "open").write_text("for all")
    (s / "private").mkdir()
    live.shell("chmod -R u=rwX,go=rX .", s)
    save(live, s)
    everything = [".session/checkpoints/1", f".session/at/{seq(s)}", ".session/versions"]
    assert _readable(live, s, everything[:1]).count(SECRET) == 3 * len(names)
    live.shell(
        f"""
        set -e
        chmod 600 stricter; chmod 700 private in; chmod 600 chowned; chown {JANE}:{JANE} chowned; mv into private/
        rm gone; rm -r rmdir; (umask 077; echo new > .over); mv .over over; chmod 600 away; mv away ../{other.name}/
        mv up private/up2; chmod 700 reuse; mv reuse reuse.old; mkdir -m 755 reuse
        """,
        s,
    )
    time.sleep(1.1)  # the kernel keeps attributes for a second
    found = _readable(live, s, [*everything, ".session/at/0s", ".session/at/2099-01-01"])
    assert SECRET not in found
    assert "/file" not in found
    assert "for all" in found
    with acting_as(JANE):
        for top in everything[:2]:
            assert (s / top / "chowned").read_text() == f"{SECRET} chowned"
            with refused(errno.EACCES):
                (s / top / "stricter").read_text()
    s.chmod(0o700)
    with acting_as(JOE), refused(errno.EACCES):
        (s / ".session/checkpoints/1/open").read_text()


@as_root
def test_groups_of_then_are_granted_what_they_are_now(live: Mounted, s: Path) -> None:
    s.chmod(0o755)
    (s / "f").write_text(SECRET)
    (s / "f").chmod(0o640)
    os.chown(s / "f", -1, STAFF)
    save(live, s)
    past = s / ".session/checkpoints/1/f"
    with acting_as(JOE, STAFF):
        assert past.read_text() == SECRET
    os.chown(s / "f", -1, JANE)
    time.sleep(1.1)
    with acting_as(JOE, STAFF), refused(errno.EACCES):
        past.read_text()


def test_a_folder_renamed_right_after_a_close_in_it_had_the_file_under_its_old_name(live: Mounted, s: Path) -> None:
    live.shell("mkdir n; echo x > n/f; mv n m", s)
    assert (s / ".session/versions/n/f/1").read_text() == "x\n"
    kinds = [(event["kind"], event.get("name")) for event in events(s)]
    assert kinds.index(("artifact.stored", "n/f")) < kinds.index(("folder.renamed", "m"))


def test_the_versions_of_a_file_are_read_once_for_all(live: Mounted, s: Path) -> None:
    for number in range(150):
        (s / "f").write_text(f"{number}\n")
    folder = s / ".session/versions/f"
    wait_for(lambda: len(os.listdir(folder)) == 150, lambda: len(os.listdir(folder)))
    assert [(folder / str(number)).read_text() for number in (1, 75, 150)] == ["0\n", "74\n", "149\n"]
    assert len({path.stat().st_ino for path in folder.iterdir()}) == 150
    (s / "f").write_text("last\n")
    wait_for((folder / "151").exists)
    assert (folder / "151").read_text() == "last\n"


@pytest.fixture
def patient() -> Iterator[Mounted]:
    """A mount for everybody whose kernel believes for a minute."""
    with mounted_for_everybody("-o", "attr_timeout=60,entry_timeout=60") as mounted:
        yield mounted


@pytest.mark.skipif(os.getuid() != 0, reason="it takes root to be another user")
def test_a_chmod_closes_the_past_at_once_whatever_the_kernel_believes(patient: Mounted) -> None:
    s = patient.session("s")
    s.chmod(0o755)
    (s / "g").write_text("secret")
    (s / "g").chmod(0o644)
    wait_for(lambda: os.path.exists(s / ".session/versions/g/1"))
    paths = [s / ".session/versions/g/1", s / ".session/at" / max(os.listdir(s / ".session/at"), key=int) / "g"]
    with acting_as(1000, 1000):
        assert [path.read_text() for path in paths] == ["secret"] * 2
    (s / "g").chmod(0o600)
    for path in paths:
        with acting_as(1000, 1000), refused(errno.EACCES):
            path.read_text()
