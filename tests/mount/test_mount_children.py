"""Child sessions: `children/`, where mkdir makes one, and `parent`, which makes one of a session that is there."""

from __future__ import annotations

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mount.live import Calls, Mounted, attribute, events, refused, wait_for


def children(session: Path) -> Path:
    return session / ".session/children"


def write(path: Path, text: str) -> None:
    """Do what a shell's `echo` does: write at once what there is, and close."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def parent(session: Path) -> str:
    return (session / ".session/parent").read_text().strip()


def identity(session: Path) -> str:
    return (session / ".session/id").read_text().strip()


def test_mkdir_makes_a_child_and_its_link_leads_there_from_anywhere(live: Mounted, s: Path) -> None:
    name = f"{s.name}-child"
    (children(s) / name).mkdir(mode=0o750)
    link, child = children(s) / name, live.sessions / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../../../{name}"
    assert os.lstat(link).st_size == len(os.readlink(link))
    assert os.path.samefile(link, child)
    assert child.stat().st_mode & 0o777 == 0o750
    assert os.listdir(children(s)) == [name]
    created = events(child)[0]
    assert (created["kind"], created["parent"], created["door"]) == ("session.created", identity(s), "mount")
    assert parent(child) == identity(s)
    (link / "f").write_text("x")
    assert (child / "f").read_text() == "x"
    assert live.shell(f"cat {live.path}/by-id/{identity(s)}/.session/children/{name}/f", Path("/")).stdout == "x"
    assert [entry.is_symlink() for entry in os.scandir(children(s))] == [True]


def test_a_child_is_used_at_once_and_for_as_long_as_one_likes(live: Mounted, s: Path) -> None:
    """The kernel takes a directory from mkdir, and finds a symlink when it looks again: nobody may be left between."""
    name = f"{s.name}-child"
    done = live.shell(
        f"""
        set -e
        mkdir {name}-a && cp /etc/hostname {name}-a/ && ls -ld {name}-a | cut -c1; ls -la . {name}-a/ > /dev/null
        mkdir {name}-b; cd {name}-b; echo held > f
        (cd {children(s)}; ls -la; sleep 0.2; ls -la; stat {name}-b {name}-b/f) > /dev/null
        cat f; echo more >> f; ls -a . ..  > /dev/null; pwd -P
        mkdir -p {children(s)}/{name}-b/sub/deeper; ls
        """,
        children(s),
    )
    assert done.stdout.split() == ["l", "held", str(live.sessions / f"{name}-b"), "f", "sub"]
    assert done.stderr == ""


def test_tools_that_make_folders_make_children(live: Mounted, s: Path, tmp_path: Path) -> None:
    (tmp_path / "from/in").mkdir(parents=True)
    (tmp_path / "from/in/f").write_text("x")
    live.shell(
        f"""
        set -e
        cp -r {tmp_path}/from {s.name}-cp; rsync -r {tmp_path}/from/ {s.name}-rsync/
        python3 -c 'import os; os.makedirs("{s.name}-python/in")'; git init -q {s.name}-git
        """,
        children(s),
    )
    for name, inside in (("cp", "in/f"), ("rsync", "in/f"), ("python", "in"), ("git", ".git/HEAD")):
        assert (live.sessions / f"{s.name}-{name}" / inside).exists()
        assert parent(live.sessions / f"{s.name}-{name}") == identity(s)


def test_many_children_made_at_once_are_all_there(live: Mounted, s: Path) -> None:
    def make(number: int) -> None:
        path = children(s) / f"{s.name}-{number}"
        path.mkdir()
        (path / "f").write_text(str(number))
        assert path.is_symlink()
        os.listdir(children(s))
        assert (path / "f").read_text() == str(number)

    names = {f"{s.name}-{number}" for number in range(40)}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(make, range(40)))
    assert set(os.listdir(children(s))) == names
    assert {parent(live.sessions / name) for name in names} == {identity(s)}


def test_what_else_could_be_done_to_children_is_refused(live: Mounted, s: Path) -> None:
    here, name = children(s), f"{s.name}-child"
    (here / name).mkdir()
    taken = live.session(f"{s.name}-taken")
    (s / "f").write_text("x")
    (s / "d").mkdir()
    calls: Calls = (
        (here / name).unlink,
        lambda: os.rename(here / name, here / "other"),
        lambda: os.rename(here / name, s / "stolen"),
        lambda: os.rename(s / "f", here / "f"),
        lambda: os.rename(s / "d", here / "d"),
        (here / "f").touch,
        lambda: (here / "l").symlink_to("x"),
    )
    for number, call in enumerate(calls):
        with refused(errno.EROFS, what=number):
            call()
    for other in (live.session(f"{s.name}-moved"), live.sessions / name):
        with refused(errno.EPERM):
            os.rename(other, here / "moved")
    for used in (name, taken.name, s.name):
        with refused(errno.EEXIST):
            (here / used).mkdir()
    with refused(errno.ENOTDIR):
        (here / name).rmdir()
    with refused(errno.ENAMETOOLONG):
        (here / ("x" * 256)).mkdir()
    assert os.listdir(here) == [name]
    (live.sessions / name).rmdir()
    assert os.listdir(here) == []


def test_names_with_a_slash_are_written_with_percent_2f(live: Mounted, s: Path) -> None:
    (children(s) / f"{s.name}%2Fchild").mkdir()
    child = live.sessions / f"{s.name}%2Fchild"
    assert (child / ".session/name").read_text() == f"{s.name}/child\n"
    assert os.path.samefile(children(s) / child.name, child)


def test_a_frozen_session_may_have_children_or_refuses_them_whole(live: Mounted, s: Path) -> None:
    before = set(os.listdir(live.sessions))
    write(s / ".session/status", "completed\n")
    try:
        (children(s) / f"{s.name}-child").mkdir()
    except OSError as error:
        assert error.errno == errno.EROFS  # noqa: PT017 - either is well
        assert set(os.listdir(live.sessions)) == before
    else:
        assert parent(live.sessions / f"{s.name}-child") == identity(s)


# parent


def test_parent_is_set_by_name_id_or_prefix_and_emptied(live: Mounted, s: Path) -> None:
    other = live.session(f"{s.name}-other")
    for text in (other.name, identity(other), identity(other)[:13]):
        write(s / ".session/parent", f"{text}\n")
        assert parent(s) == identity(other)
        assert json.loads((s / ".session/session.json").read_text())["parent_session_id"] == identity(other)
        assert attribute(s, "llmspell.parent") == identity(other)
        assert os.listdir(children(other)) == [s.name]
        live.shell(": > .session/parent", s)
        assert parent(s) == ""
        assert os.listdir(children(other)) == []
    os.setxattr(s, "user.llmspell.parent", other.name.encode())
    assert parent(s) == identity(other)
    os.removexattr(s, "user.llmspell.parent")
    assert parent(s) == ""
    live.shell(
        f"jq '.parent_session_id = \"{identity(other)}\"' .session/session.json > j; cp j .session/session.json", s
    )
    assert parent(s) == identity(other)


def test_nobody_is_their_own_ancestor(live: Mounted, s: Path) -> None:
    second, third = live.session(f"{s.name}-2"), live.session(f"{s.name}-3")
    write(second / ".session/parent", s.name)
    write(third / ".session/parent", second.name)
    before = len(events(s))
    for ancestor in (s, second, third):
        done = live.shell(f"echo {ancestor.name} > .session/parent", s, check=False)
        assert (done.returncode, "Invalid argument" in done.stderr) == (1, True)
        with refused(errno.EINVAL):
            os.setxattr(s, "user.llmspell.parent", ancestor.name.encode())
        document = json.loads((s / ".session/session.json").read_text())
        with refused(errno.EINVAL):
            write(s / ".session/session.json", json.dumps({**document, "parent_session_id": identity(ancestor)}))
    with refused(errno.EINVAL, errno.ENOENT):
        write(s / ".session/parent", "nobody\n")
    assert parent(s) == ""
    assert len(events(s)) == before


def test_a_parent_that_goes_leaves_its_children(live: Mounted, s: Path) -> None:
    other = live.session(f"{s.name}-other")
    gone = identity(other)
    write(s / ".session/parent", other.name)
    other.rmdir()
    assert parent(s) == gone
    assert json.loads((s / ".session/session.json").read_text())["parent_session_id"] == gone
    live.command("session", "restore", gone)
    assert os.listdir(children(other)) == [s.name]
    live.command("session", "purge", gone, "--yes")
    wait_for(lambda: not other.exists())
    (s / "f").write_text("x")
    assert parent(s) in {gone, ""}
    write(s / ".session/parent", "\n")
    assert parent(s) == ""


# what a frozen session takes


def test_of_a_frozen_session_only_labels_and_the_state_are_written(live: Mounted, s: Path) -> None:
    other = live.session(f"{s.name}-other")
    (s / "f").write_text("x")
    write(s / ".session/status", "suspended\n")
    control = s / ".session"
    sidecar = json.loads((control / "artifacts/f.json").read_text())
    document = json.loads((control / "session.json").read_text())
    calls: Calls = (
        lambda: write(control / "name", f"{s.name}-new\n"),
        lambda: write(control / "description", "new\n"),
        lambda: write(control / "parent", f"{other.name}\n"),
        lambda: write(control / "session.json", json.dumps({**document, "description": "new"})),
        lambda: write(control / "artifacts/f.json", json.dumps({**sidecar, "description": "new"})),
        lambda: os.setxattr(s, "user.llmspell.description", b"new"),
        lambda: os.setxattr(s, "user.key", b"new"),
        lambda: os.setxattr(s / "f", "user.key", b"new"),
    )
    for number, call in enumerate(calls):
        with refused(errno.EROFS, what=number):
            call()
    write(control / "tags", "hold\n")
    os.setxattr(s, "user.llmspell.tags", b"hold\nkeep")
    assert (control / "tags").read_text() == "hold\nkeep\n"
    assert json.loads((control / "session.json").read_text())["tags"] == ["hold", "keep"]
    write(control / "status", "active\n")
    write(control / "description", "new\n")
    assert (control / "description").read_text() == "new\n"
