"""A store mounted for real by a daemon of its own, and its other doors: commands, shells, and an API process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmspellfs import Store, open_store
from llmspellfs.config import load_config
from llmspellfs.fuse.mountpoint import daemon_of, mounted_kind, take_away
from tests.watchdog import EVERYBODYS

if TYPE_CHECKING:
    from collections.abc import Iterator

Calls = tuple[Callable[[], object], ...]
ROOT = Path(__file__).parents[2]
MOST_SECONDS = 240
"""What a command or a script may take: a gibibyte is copied, or a repository made, within on a slow machine."""
_STAMP = re.compile(r"[-\d]+ [:,\d]+ \d+ ")
_FORESEEN = ("WARNING llmspellfs.", "ERROR llmspellfs.tree.opened: ", "ERROR llmspellfs.tree.sealer: ")
"""How lines of the log go on that may say "ERROR": names in warnings, and what could not be committed."""


class Mounted:
    """One store under *base*, mounted at `path`; *config* is what its llmspell.toml says."""

    def __init__(self, base: Path, config: str = "") -> None:
        self.store, self.path = base / "store", base / "mnt"
        self.path.mkdir(parents=True)
        self.sessions = self.path / "sessions"
        self.config = base / "llmspell.toml"
        self.config.write_text(f"[runtime.sessions]\n{config}")
        self.log = self.store / "mount.log"
        self.may_fail = False
        """Whether the test says that the log may tell of errors that are foreseen, each in one line."""
        self.checked = 0
        home = {"XDG_CONFIG_HOME": str(base / "xdg"), "XDG_DATA_HOME": str(base / "xdg"), "PYTHONPATH": str(ROOT)}
        self.environment = {**os.environ, **home, "LLMSPELL_CONFIG": str(self.config)}

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "llmspellfs", "--store", str(self.store), *words]

    def command(self, *words: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.words(*words), env=self.environment, input=stdin, capture_output=True, text=True, check=False,
            timeout=MOST_SECONDS,
        )  # fmt: skip
        assert not check or done.returncode == 0, (words, done.stderr)
        return done

    def start(self, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.words(*words), env=self.environment, **streams)

    def mount(self, *words: str) -> None:
        self.command("mount", str(self.path), *words)

    def umount(self) -> None:
        self.command("umount", str(self.path))
        assert mounted_kind(str(self.path)) is None

    @property
    def pid(self) -> int:
        found = daemon_of(str(self.path))
        assert found is not None
        return found

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the daemon a signal, and wait for its end."""
        process = self.pid
        handle = os.pidfd_open(process)
        os.kill(process, number)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, 0)
        wait_for(lambda: is_over(handle))
        os.close(handle)

    def open(self, **options: Any) -> Store:
        """Open the store as a program would."""
        return open_store(self.store, config=load_config(self.config), **options)

    def session(self, name: str) -> Path:
        path = self.sessions / name
        path.mkdir()
        return path

    def shell(self, script: str, folder: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=self.environment, capture_output=True, text=True, check=False,
            timeout=MOST_SECONDS,
        )  # fmt: skip
        assert not check or done.returncode == 0, (script, done.stderr)
        return done

    def spooled(self) -> list[str]:
        """What lies in the spool, locks apart."""
        spool = self.store / "spool"
        return [str(path) for path in spool.rglob("*") if path.is_file() and path.name != "lock"]

    def check(self, *, is_whole: bool = False) -> None:
        """Find nothing left over and nothing said of errors; with *is_whole* also check every byte of the store."""
        wait_for(lambda: not self.spooled(), self.spooled)
        text = self.log.read_text() if self.log.exists() else ""
        news, self.checked = text[self.checked :], len(text)
        assert "Traceback" not in news, news
        told = [line for line in news.splitlines() if "ERROR" in line]
        assert not [line for line in told if not (self.may_fail and _is_foreseen(line))], news
        self.may_fail = False
        if is_whole:
            with self.open() as store:
                assert store.upkeep.fsck().problems == ()

    def end(self) -> None:
        """Unmount, whatever has happened."""
        if mounted_kind(str(self.path)) is None:
            return
        process = daemon_of(str(self.path))
        with contextlib.suppress(Exception):
            self.umount()
        if mounted_kind(str(self.path)) is not None:
            take_away(str(self.path), lazy=True)
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def _is_foreseen(line: str) -> bool:
    """Tell whether *line* of a log, or what a full disk has left of it, may be there where calls may fail."""
    said = _STAMP.sub("", line, count=1)
    return any(said.startswith(start) or start.startswith(said) for start in _FORESEEN)


@contextlib.contextmanager
def store_locked(mounted: Mounted) -> Iterator[None]:
    """Hold the store's write lock, as another process does in a transaction."""
    with contextlib.closing(sqlite3.connect(mounted.store / "index.db", timeout=60, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def new_folder_of_everybodys() -> Path:
    """Return a new folder that other users can reach once its mode lets them."""
    return Path(tempfile.mkdtemp(prefix=Path(EVERYBODYS).name, dir=Path(EVERYBODYS).parent))


@contextlib.contextmanager
def mounted_for_everybody(*words: str) -> Iterator[Mounted]:
    """Mount a store, with *words* of the command beside, where other users can reach it; root's mount is theirs too."""
    base = new_folder_of_everybodys()
    mounted = Mounted(base / "m")
    try:
        for folder in (base, base / "m"):
            folder.chmod(0o755)
        mounted.mount(*(["-o", "allow_other"] if os.getuid() == 0 else []), *words)
        yield mounted
    finally:
        mounted.end()
        mounted.check(is_whole=True)
        shutil.rmtree(base)


def as_user(uid: int, call: Callable[[], object], gid: int | None = None) -> object:
    """Return what *call* returns, or the error that it raises, in a child that is the user *uid* for good."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(uid if gid is None else gid)
            os.setuid(uid)
            result = call()
        except BaseException as error:  # noqa: BLE001 - the parent judges it
            result = error if isinstance(error, OSError) else RuntimeError(f"{type(error).__name__}: {error}")
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(told)


def is_over(pidfd: int) -> bool:
    import select

    return bool(select.select([pidfd], [], [], 0)[0])


def wait_for(true: Callable[[], object], what: Callable[[], object] = lambda: "", seconds: float = 60) -> None:
    """Return once *true* holds, polled; fail with *what* it is where it does not, asked after *seconds*.

    Of each round a quarter of a second counts at most: what is waited for halts when the whole machine does.
    """
    counted, before = 0.0, time.monotonic()
    while not true():
        assert counted < seconds, what()
        time.sleep(0.01)
        now = time.monotonic()
        counted, before = counted + min(now - before, 0.25), now


def events(session: Path) -> list[dict[str, Any]]:
    """Return the events of the session at *session*, oldest first, as the mount shows them."""
    return [json.loads(line) for line in (session / ".session/events.jsonl").read_text().splitlines()]


def stored(session: Path, name: str) -> list[dict[str, Any]]:
    """Return the `artifact.stored` events of *name*, once the last handle of it is released."""
    mine: list[dict[str, Any]] = []

    def is_there() -> bool:
        mine[:] = [e for e in events(session) if e["kind"] == "artifact.stored" and e.get("name") == name]
        return bool(mine)

    wait_for(is_there, lambda: events(session))
    time.sleep(0.03)
    is_there()
    return mine


def attribute(path: Path, name: str) -> str:
    """Return the extended attribute `user.NAME`."""
    return os.getxattr(path, f"user.{name}").decode()


def version(path: Path) -> int:
    return int(attribute(path, "llmspell.version"))


@contextlib.contextmanager
def refused(*codes: int, what: object = "") -> Iterator[None]:
    """Expect an OSError of one of *codes*."""
    try:
        yield
    except OSError as error:
        got = errno.errorcode.get(error.errno or 0, str(error))
        assert error.errno in codes, f"{got} instead of {[errno.errorcode[code] for code in codes]}"  # noqa: PT017
    else:
        wanted = [errno.errorcode[code] for code in codes]
        raise AssertionError(f"no error instead of {wanted} {what}")
