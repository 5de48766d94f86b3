"""A file that is saved by rename is there all the time: whoever opens it meanwhile finds the old or the new one."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mount.live import Mounted, refused

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = 60


def _read(path: Path) -> None:
    assert len(path.read_bytes()) == 4


LOOKING: dict[str, Callable[[Path], object]] = {
    "open": _read,
    "stat": os.stat,
    "getxattr": os.listxattr,
    "write": lambda path: os.close(os.open(path, os.O_WRONLY)),
}


@pytest.mark.parametrize("way", LOOKING)
def test_readers_find_a_file_that_is_being_replaced(live: Mounted, s: Path, way: str) -> None:
    path, heard, done = s / "f", Counter[str](), threading.Event()
    path.write_bytes(b"0000")

    def look() -> None:
        while not done.is_set():
            try:
                LOOKING[way](path)
                heard["there"] += 1
            except OSError as error:
                heard[errno.errorcode[error.errno or 0]] += 1

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(TIMES):
        (s / "new").write_bytes(b"%04d" % number)
        os.rename(s / "new", path)
        time.sleep(0.005)
    done.set()
    for reader in readers:
        reader.join()
    assert heard["ENOENT"] == 0
    assert heard.pop("ESTALE", 0) * 20 < heard["there"]  # the kernel looks again once, and may be late once more
    assert set(heard) <= {"there", "ENOENT"}
    path.unlink()
    with refused(errno.ENOENT):
        path.read_bytes()


def test_readers_find_a_control_file_that_is_being_replaced(live: Mounted, s: Path) -> None:
    control = s / ".session"
    for number in range(20):
        (control / "new").write_text(f"{number}\n")
        with open(control / "description") as before:
            os.rename(control / "new", control / "description")
            assert before.read() == (f"{number - 1}\n" if number else "")
            assert (control / "description").read_text() == f"{number}\n"
        assert (control / "description").stat().st_size == len(f"{number}\n")
    live.shell(
        "for i in 1 2 3 4 5 6 7 8 9; do sed -i s/x*/x/ .session/description; sleep 0.02; done & "
        "while kill -0 $! 2> /dev/null; do cat .session/description .session/session.json; done 2> .heard",
        s,
    )
    assert "No such file" not in (s / ".heard").read_text()
