"""Many at once, and anything in any order: what a local folder does with it, the mount does too."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mount.live import Mounted, refused, wait_for

NAMES = ["a", "b", "c", "d/a", "d/b", "e/a", "d", "e", "d/e"]


class Pair:
    """The same calls on two folders; they must answer alike."""

    def __init__(self, local: Path, mounted: Path, source: random.Random) -> None:
        self.roots, self.source = (local, mounted), source
        self.open: list[tuple[int, int]] = []
        self.log: list[str] = []

    def both(self, what: str, call: str, *paths: str, **words: object) -> None:
        told = {key: f"{len(word)} bytes" if isinstance(word, bytes) else word for key, word in words.items()}
        answers: list[object] = []
        for root in self.roots:
            try:
                answers.append(getattr(self, f"_{call}")(*(root / path for path in paths), **words))
            except OSError as error:
                answers.append(errno.errorcode[error.errno or 0])
        self.log.append(f"{what} {paths} {told}: {str(answers[0])[:60]}")
        assert answers[0] == answers[1], "\n".join([*self.log[-60:], str(answers)[:300]])

    def _write(self, path: Path, content: bytes, offset: int | None, flags: int) -> int:
        descriptor = os.open(path, flags | os.O_WRONLY, 0o644)
        try:
            return os.write(descriptor, content) if offset is None else os.pwrite(descriptor, content, offset)
        finally:
            os.close(descriptor)

    def _read(self, path: Path) -> bytes:
        return path.read_bytes()

    def _mkdir(self, path: Path) -> None:
        path.mkdir()

    def _rmdir(self, path: Path) -> None:
        path.rmdir()

    def _unlink(self, path: Path) -> None:
        path.unlink()

    def _rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def _truncate(self, path: Path, size: int) -> None:
        os.truncate(path, size)

    def _symlink(self, path: Path) -> None:
        path.symlink_to("a")

    def _list(self, path: Path) -> list[str]:
        return sorted(os.listdir(path))

    def _stat(self, path: Path) -> tuple[int, int]:
        got = path.lstat()
        return stat.S_IFMT(got.st_mode), 0 if stat.S_ISDIR(got.st_mode) else got.st_size

    def hold(self, name: str) -> None:
        """Open *name* in both and keep it open."""
        kept = []
        for root in self.roots:
            try:
                kept.append(os.open(root / name, os.O_RDWR | os.O_CREAT, 0o644))
            except OSError as error:
                kept.append(-(error.errno or 0))
        self.log.append(f"hold {name} {kept}")
        assert (kept[0] < 0) == (kept[1] < 0), "\n".join(self.log[-40:])
        if kept[0] >= 0:
            self.open.append((kept[0], kept[1]))

    def use(self) -> None:
        """Write and read through something that is held open."""
        pair = self.source.choice(self.open)
        content, offset = self.source.randbytes(self.source.choice((1, 3000, 90_000))), self.source.randrange(5000)
        self.log.append(f"use {pair} {len(content)} at {offset}")
        for descriptor in pair:
            os.pwrite(descriptor, content, offset)
        answers = [(os.pread(descriptor, 200_000, 0), os.fstat(descriptor).st_size) for descriptor in pair]
        assert answers[0] == answers[1], "\n".join(self.log[-40:])

    def let_go(self) -> None:
        pair = self.open.pop(self.source.randrange(len(self.open)))
        self.log.append(f"let go {pair}")
        for descriptor in pair:
            os.close(descriptor)

    def step(self) -> None:
        one, two = self.source.choice(NAMES), self.source.choice(NAMES)
        content = self.source.randbytes(self.source.choice((0, 5, 4096, 70_000)))
        roll = self.source.randrange(16)
        if roll < 4:
            flags = self.source.choice((os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_APPEND, os.O_CREAT | os.O_EXCL, 0))
            self.both("write", "write", one, content=content, offset=None, flags=flags)
        elif roll == 4:
            self.both("pwrite", "write", one, content=content, offset=self.source.randrange(9000), flags=0)
        elif roll in {5, 6}:
            self.both("rename", "rename", one, two)
        elif roll == 7 and len(self.open) < 6:
            self.hold(one)
        elif roll in {8, 9} and self.open:
            self.use()
        elif roll == 10 and self.open:
            self.let_go()
        elif roll == 11:
            self.both("truncate", "truncate", one, size=self.source.choice((0, 10, 6000)))
        else:
            call = self.source.choice(("mkdir", "rmdir", "unlink", "symlink", "list", "read", "stat"))
            self.both(call, call, one)


def _contents(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


@pytest.mark.parametrize("seed", range(6))
def test_any_calls_in_any_order_do_what_they_do_locally(live: Mounted, s: Path, tmp_path: Path, seed: int) -> None:
    local = tmp_path / "local"
    local.mkdir()
    pair = Pair(local, s, random.Random(seed))
    for _ in range(400):
        pair.step()
    while pair.open:
        pair.let_go()
    assert _contents(s) == _contents(local)
    with live.open() as door:
        files = {name: content for name, content in _contents(local).items() if isinstance(content, bytes)}
        wait_for(lambda: {a.name for a in door.artifacts.list(s.name)} == set(files))
        assert {a.name: door.artifacts.read(a) for a in door.artifacts.list(s.name)} == files
        assert [report.problem for report in door.upkeep.verify(s.name)] == [None]
        assert door.upkeep.lost() == []


def test_many_threads_in_one_folder(live: Mounted, s: Path) -> None:
    def work(worker: int) -> None:
        source = random.Random(worker)
        for number in range(40):
            mine, shared = s / f"w{worker}-{number}", s / f"shared{source.randrange(4)}"
            mine.write_bytes(b"%d" % worker * 10)
            os.rename(mine, shared)
            os.listdir(s)
            try:
                content = shared.read_bytes()
            except FileNotFoundError:
                content = b"%d" % worker * 10
            assert len(set(content)) == 1, content
            assert len(content) == 10
            if number % 5 == 0:
                shared.unlink(missing_ok=True)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work, number) for number in range(8)]:
            future.result()
    assert not [name for name in os.listdir(s) if not name.startswith("shared")]


def test_many_threads_make_and_remove_sessions(live: Mounted) -> None:
    def work(worker: int) -> None:
        for number in range(10):
            session = live.session(f"many-{worker}-{number}")
            (session / "f").write_text("x")
            os.rename(session, live.sessions / f"{session.name}-renamed")
            live_name = live.sessions / f"{session.name}-renamed"
            assert (live_name / "f").read_text() == "x"
            (live_name / "f").unlink()
            live_name.rmdir()

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(work, number) for number in range(6)]:
            future.result()
    assert not [name for name in os.listdir(live.sessions) if name.startswith("many-")]


AS_NOBODY = """
import os, sys
os.setgid(65534); os.setuid(65534)
for call in (
    lambda: open(sys.argv[1] + "/private").read(),
    lambda: open(sys.argv[1] + "/readable").read(),
    lambda: open(sys.argv[1] + "/readable", "a"),
    lambda: open(sys.argv[1] + "/.session/artifacts/private.json").read(),
    lambda: os.listdir(sys.argv[2] + "/by-tag"),
    lambda: os.listdir(sys.argv[2] + "/search/type:user_input"),
    lambda: open(sys.argv[1] + "/.session/status", "w"),
    lambda: open(sys.argv[1] + "/new", "w"),
    lambda: os.unlink(sys.argv[1] + "/readable"),
    lambda: os.getxattr(sys.argv[1] + "/private", "user.k"),
    lambda: os.setxattr(sys.argv[1] + "/readable", "user.k", b"x"),
):
    try:
        call()
        print("ok")
    except PermissionError:
        print("no")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_modes_are_obeyed_under_allow_other(tmp_path_factory: pytest.TempPathFactory) -> None:
    import tempfile

    base = Path(tempfile.mkdtemp(prefix="llmspellfs-test-", dir="/var/tmp"))
    mounted = Mounted(base / "m")
    try:
        for folder in (base, base / "m"):
            folder.chmod(0o755)
        mounted.mount("-o", "allow_other")
        s = mounted.session("s")
        s.chmod(0o755)
        for name, mode in (("private", 0o600), ("readable", 0o644)):
            (s / name).write_text(name)
            (s / name).chmod(mode)
        os.setxattr(s / "private", "user.k", b"secret")
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(s), str(mounted.path)], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["no", "ok", *["no"] * 9]
        with refused(errno.ENODATA):
            os.getxattr(s / "readable", "user.k")
    finally:
        mounted.end()
        mounted.check(is_whole=True)
        subprocess.run(["rm", "-rf", str(base)], check=True)
