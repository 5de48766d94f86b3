"""Many threads at once, and other users under `allow_other`."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mount.live import Mounted, mounted_for_everybody, refused


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
def test_modes_are_obeyed_under_allow_other() -> None:
    with mounted_for_everybody() as mounted:
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
