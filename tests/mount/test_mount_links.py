"""Link counts and inode numbers: what `find`, `ls -l` and `tar` go by."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tests.mount.live import Mounted, refused, wait_for


def links(path: Path) -> int:
    return path.stat().st_nlink


def numbers(root: Path) -> dict[str, int]:
    """Return the inode number of everything below *root*, and its own."""
    found = {str(path.relative_to(root)): path.lstat().st_ino for path in root.rglob("*")}
    return {**found, ".": root.stat().st_ino}


def test_a_folder_counts_the_folders_in_it(live: Mounted, s: Path) -> None:
    assert links(s) == 2
    for name in ("a", "b", "a/deep"):
        (s / name).mkdir()
    (s / "a/file").write_text("x")
    (s / "a/link").symlink_to("deep")
    assert (links(s), links(s / "a"), links(s / "a/deep"), links(s / "a/file")) == (4, 3, 2, 1)
    os.rename(s / "a/deep", s / "b/deep")
    assert (links(s / "a"), links(s / "b")) == (2, 3)
    (s / "c").mkdir()
    os.rename(s / "b", s / "c")  # over an empty one: two folders are one
    assert (links(s), links(s / "c")) == (4, 3)
    (s / "c/deep").rmdir()
    assert links(s / "c") == 2
    with refused(errno.ENOTDIR):
        (s / "a/file").rmdir()
    assert links(s / "a") == 2


def test_counts_follow_folders_from_session_to_session(live: Mounted, s: Path) -> None:
    other = live.session(f"{s.name}-other")
    (s / "a/b/c").mkdir(parents=True)
    assert (links(s), links(s / "a"), links(other)) == (3, 3, 2)
    os.rename(s / "a", other / "a")
    assert (links(s), links(other), links(other / "a"), links(other / "a/b")) == (2, 3, 3, 3)


def test_counts_follow_other_doors(live: Mounted, s: Path) -> None:
    (s / "a").mkdir()
    assert (links(s), links(s / "a")) == (3, 2)
    with live.open() as door:
        door.artifacts.put(s.name, "a/one/f", b"x")
        door.artifacts.put(s.name, "a/two/f", b"x")
        wait_for(lambda: (links(s), links(s / "a")) == (3, 4), lambda: (links(s), links(s / "a")))
        door.artifacts.put(s.name, "top/f", b"x")
        wait_for(lambda: links(s) == 4, lambda: links(s))


def test_sessions_are_counted(live: Mounted, s: Path) -> None:
    before = links(live.sessions)
    assert before == 2 + len(os.listdir(live.sessions))
    made = live.session(f"{s.name}-made")
    assert links(live.sessions) == before + 1
    os.rename(made, live.sessions / f"{made.name}-2")
    assert links(live.sessions) == before + 1
    (live.sessions / f"{made.name}-2").rmdir()
    assert links(live.sessions) == before
    assert links(live.path) == 2 + sum(path.is_dir() for path in live.path.iterdir())


def test_find_finds_what_there_is(live: Mounted, s: Path) -> None:
    live.shell("mkdir -p a/b/c d/e; touch a/f a/b/g a/b/c/h; ln -s a link", s)
    assert live.shell("find . -type d | sort | tr '\\n' ' '", s).stdout == ". ./a ./a/b ./a/b/c ./d ./d/e "
    assert live.shell("find . -type d -links 2 | sort | tr '\\n' ' '", s).stdout == "./a/b/c ./d/e "
    assert live.shell("find . -type f -links 1 | wc -l", s).stdout == "3\n"


def test_inode_numbers_are_distinct_and_last(own: Mounted) -> None:
    own.mount()
    s, t = own.session("s"), own.session("t")
    own.shell("mkdir -p a/b; echo x > a/f; echo y > a/b/g; ln -s a link; echo z > h", s)
    os.rename(s / "h", t / "moved")
    before = numbers(own.sessions)
    assert len(set(before.values())) == len(before) == 9
    own.umount()
    own.mount()
    assert numbers(own.sessions) == before
    os.rename(s / "a", t / "a")
    assert (t / "a").stat().st_ino == before["s/a"]
    assert (t / "a/b/g").stat().st_ino == before["s/a/b/g"]
    (t / "new").write_text("n")
    assert (t / "new").stat().st_ino not in before.values()


def test_blocks_are_what_is_stored(live: Mounted, s: Path) -> None:
    (s / "random").write_bytes(os.urandom(1 << 20))
    (s / "zeros").write_bytes(bytes(1 << 20))
    (s / "empty").touch()
    blocks = {name: (s / name).stat().st_blocks * 512 for name in ("random", "zeros", "empty")}
    assert (1 << 20) <= blocks["random"] < (1 << 20) + 65_536
    assert 0 < blocks["zeros"] < 100_000
    assert blocks["empty"] == 0
    total = int(live.shell("du -s --block-size=1 .", s).stdout.split()[0])
    assert total == sum(blocks.values())


def test_sessions_has_the_time_of_the_last_one_made_renamed_or_deleted(live: Mounted, s: Path) -> None:
    def moment() -> int:
        return live.sessions.stat().st_mtime_ns

    made = live.session(f"{s.name}-a")
    times = [s.stat().st_ctime_ns, moment()]
    (made / "f").write_text("x")
    assert moment() == times[-1]
    os.rename(made, live.sessions / f"{s.name}-b")
    times.append(moment())
    live.command("session", "delete", f"{s.name}-b")
    wait_for(lambda: moment() > times[-1])
    times.append(moment())
    live.command("session", "restore", f"{s.name}-b")
    wait_for(lambda: moment() > times[-1])
    assert times == sorted(set(times))


def test_the_trail_is_its_owners_alone_since_it_names_what_is_in_private_folders(live: Mounted, s: Path) -> None:
    s.chmod(0o755)
    (s / "f").write_text("x")
    first = min(os.listdir(s / ".session/at"), key=int)
    for trail in (s / ".session/events.jsonl", s / f".session/at/{first}/.session/events.jsonl"):
        assert oct(trail.stat().st_mode & 0o777) == "0o400"
