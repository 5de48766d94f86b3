"""The mount's log: it stays small however long a mount lives, and however often something is said."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import logging, os, sys
from pathlib import Path
from llmspellfs.fuse import log
log._MOST_BYTES, log._REPEAT_SECONDS = 10_000, float(sys.argv[2])
log.log_to_store(Path(sys.argv[1]))
logger = logging.getLogger("a")
"""


def logged(store: Path, lines: str, repeat_seconds: float = 60.0) -> str:
    """Run *lines* in a process that logs to *store*; return what its log has then."""
    subprocess.run(
        [sys.executable, "-c", SCRIPT + lines, str(store), str(repeat_seconds)],
        check=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return (store / "mount.log").read_text()


def test_the_log_of_one_mount_is_begun_anew_when_it_is_large(tmp_path: Path) -> None:
    text = logged(tmp_path, "for n in range(1000): logger.error('line %d %s', n, 'x' * 80)")
    assert "line 999 " in text
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"mount.log", "mount.log.1"}
    assert max(sizes.values()) < 11_000
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    before = (tmp_path / "mount.log.1").read_text().splitlines()[-1].split()
    first = text.splitlines()[0].split()
    assert int(first[first.index("line") + 1]) == int(before[before.index("line") + 1]) + 1


def test_two_mounts_of_a_store_go_on_in_one_file(tmp_path: Path) -> None:
    fork = """
read, write = os.pipe()
pid = os.fork()
log.log_to_store(Path(sys.argv[1]))
if not pid: os.close(write)
for n in range(500): logger.error('%s %d %s', 'parent' if pid else 'child', n, 'x' * 80)
if pid:
    os.close(write)
    os.waitpid(pid, 0)
else:
    os.read(read, 1)  # until the parent has written all too
logger.error('the end of %s', 'parent' if pid else 'child')
"""
    text = (tmp_path / "mount.log.1").read_text() if logged(tmp_path, fork) else ""
    text += (tmp_path / "mount.log").read_text()
    assert "the end of parent" in text
    assert "the end of child" in text
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 22_000


def test_what_is_said_again_and_again_is_counted(tmp_path: Path) -> None:
    lines = """
for n in range(1000): logger.error('the same')
logger.error('another')
for n in range(2): logger.info('another')
"""
    said = [line.split("a: ", 1)[1] for line in logged(tmp_path, lines).splitlines()]
    assert said == ["the same", "the line above came 999 times more", "another", "another"]


def test_what_is_said_again_later_is_written_again(tmp_path: Path) -> None:
    text = logged(tmp_path, "for n in range(5): logger.error('the same')", repeat_seconds=0)
    assert text.count("the same") == 5


def test_a_line_that_a_full_disk_has_cut_does_not_swallow_the_beginning_of_the_next(tmp_path: Path) -> None:
    lines = """
import resource
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
logger.error('first')
resource.setrlimit(resource.RLIMIT_FSIZE, (os.fstat(2).st_size + 5, most))
logger.error('cut')
logger.error('lost')
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
logger.error('next')
logger.error('last')
"""
    first, cut, *rest = logged(tmp_path, lines).splitlines()
    assert first.endswith("a: first")
    assert len(cut) == 5
    assert first.startswith(cut)
    assert [line.split("a: ", 1)[1] for line in rest] == ["next", "last"]
