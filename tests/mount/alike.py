"""The same commands in a session and in a local folder, and what came of them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mount.live import Mounted

STRICT = 'set -eu -o pipefail; export HOME="$PWD" LC_ALL=C TZ=UTC GIT_CONFIG_NOSYSTEM=1; umask 022\n'
SOURCES = r"""
mkdir -p src/sub/deep 'src/with space'
seq 50000 > src/numbers
printf 'alpha\nbeta\ngamma\n' > src/words
printf '{"b": 2, "a": [1, 2]}\n' > src/sub/data.json
printf 'x' > 'src/with space/ünï "quoted"'
: > src/sub/deep/empty
ln -s ../words src/sub/link
chmod 640 src/words; chmod 750 src/sub; chmod 400 src/sub/data.json
touch -d '2020-02-03 04:05:06.123456789' src/words src/sub/deep
"""


def run(live: Mounted, folder: Path, script: str) -> str:
    """Return what *script* says in *folder*, which it must end without an error in; its name is not in the words."""
    done = live.shell(STRICT + script, folder)
    return (done.stdout + done.stderr).replace(str(folder), "HERE")


def picture(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return kind, mode and content of everything below *folder*."""
    found: dict[str, tuple[object, ...]] = {}
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(base, name)
            status = os.lstat(path)
            found[os.path.relpath(path, folder)] = (oct(status.st_mode), _content(path, status.st_mode))
    return found


def _content(path: str, mode: int) -> object:
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    if stat.S_ISDIR(mode):
        return None
    with open(path, "rb") as file:
        return file.read()


def assert_alike(live: Mounted, session: Path, local: Path, script: str) -> str:
    """Run *script* in both folders, find the same words and the same files, and return the words."""
    for folder in (session, local):
        run(live, folder, SOURCES)
    here, there = run(live, session, script), run(live, local, script)
    assert here == there
    mine, other = picture(session), picture(local)
    assert sorted(mine) == sorted(other)
    for name, what in mine.items():
        assert what == other[name], name
    return here
