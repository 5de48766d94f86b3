"""A process that does a bit of everything on a mount, and tells how long each call took and what failed unexpectedly.

`python -m tests.crash.load_worker SESSIONS NUMBER SECONDS`: in a session of its own, and every third time in one that
all share, where others may rename and remove at any moment. It prints JSON: `took`, seconds by kind, and `errors`.
"""

from __future__ import annotations

import errno
import json
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_SHARED = {errno.ENOENT, errno.ESTALE, errno.EEXIST, errno.ENODATA}
"""What may happen where others are at work too; a file that another is just making has no version yet.

ESTALE is ENOENT for a file that others have renamed or removed twice while it was looked up twice.
"""


class Load:
    """The calls of worker *number* below *sessions*."""

    def __init__(self, sessions: Path, number: int) -> None:
        self.sessions, self.number, self.chance = sessions, number, random.Random(number)
        self.own, self.shared = sessions / f"load-{number}", sessions / "shared"
        self.own.mkdir(exist_ok=True)
        self.took: dict[str, list[float]] = {}
        self.errors: list[str] = []
        self.serial = 0

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        calls = [getattr(self, name) for name in dir(self) if name.startswith("do_")]
        while time.monotonic() < end:
            folder = self.shared if self.chance.random() < 0.33 else self.own
            self._timed(self.chance.choice(calls), folder)

    def _timed(self, call: Callable[[Path], None], folder: Path) -> None:
        name = call.__name__.removeprefix("do_")
        expected = (_SHARED if folder == self.shared else set()) | ({errno.EBUSY} if name == "state" else set())
        before = time.monotonic()
        try:
            call(folder)
        except OSError as error:
            if error.errno not in expected:
                self.errors.append(f"{name} in {folder.name}: {error}")
        self.took.setdefault(name, []).append(time.monotonic() - before)

    def _any(self, folder: Path) -> Path:
        """Return some file, a new one where there is none; of many all but some are removed."""
        names = os.listdir(folder)
        if len(names) > 60:
            for name in self.chance.sample(names, 10):
                with suppress(FileNotFoundError):
                    (folder / name).unlink()
        if names and len(names) <= 60:
            return folder / self.chance.choice(names)
        self.do_create(folder)
        return folder / f"f{self.number}-{self.serial}"

    def do_create(self, folder: Path) -> None:
        self.serial += 1
        size = 300_000 if self.chance.random() < 0.05 else self.chance.randrange(5000)
        (folder / f"f{self.number}-{self.serial}").write_bytes(self.chance.randbytes(size))

    def do_read(self, folder: Path) -> None:
        self._any(folder).read_bytes()

    def do_stat(self, folder: Path) -> None:
        self._any(folder).stat()

    def do_append(self, folder: Path) -> None:
        with open(self._any(folder), "ab") as file:
            file.write(b"more\n")

    def do_rename(self, folder: Path) -> None:
        self.serial += 1
        os.rename(self._any(folder), folder / f"f{self.number}-{self.serial}")

    def do_unlink(self, folder: Path) -> None:
        self._any(folder).unlink()

    def do_list(self, folder: Path) -> None:
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                entry.stat()

    def do_xattr(self, folder: Path) -> None:
        path = self._any(folder)
        os.setxattr(path, "user.llmspell.tags", b"a,b" if self.serial % 2 else b"c")
        os.getxattr(path, "user.llmspell.version")
        os.listxattr(path)

    def do_sidecar(self, folder: Path) -> None:
        path = self._any(folder)
        sidecar = folder / ".session" / "artifacts" / f"{path.name}.json"
        sidecar.read_text()
        with open(os.open(sidecar, os.O_WRONLY | os.O_TRUNC), "w") as file:
            json.dump({"description": f"by {self.number}"}, file)

    def do_search(self, folder: Path) -> None:
        list(os.walk(self.sessions.parent / "search" / f"session:{folder.name} size<{self.serial + 10}"))

    def do_at(self, folder: Path) -> None:
        lines = (folder / ".session" / "events.jsonl").read_bytes().count(b"\n")
        with suppress(FileNotFoundError):
            os.listdir(folder / ".session" / "at" / str(self.chance.randint(1, max(1, lines))))

    def do_checkpoints(self, folder: Path) -> None:
        os.listdir(folder / ".session" / "checkpoints")

    def do_state(self, folder: Path) -> None:
        status = self.own / ".session" / "status"
        status.write_text("suspended")
        give_up = time.monotonic() + 30
        while True:
            try:
                status.write_text("active")
                return
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > give_up:
                    raise


if __name__ == "__main__":
    load = Load(Path(sys.argv[1]), int(sys.argv[2]))
    load.run(float(sys.argv[3]))
    print(json.dumps({"took": load.took, "errors": load.errors}))
