"""The views: by-id, by-status, by-tag, by-type, and search/."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tests.mount.live import Calls, Mounted, refused, wait_for


def _fill(live: Mounted, s: Path) -> None:
    (s / "results").mkdir()
    for name, kind, tags in (("a.csv", "tool_result", b"x"), ("results/b.csv", "tool_result", b"x,y"), ("c", "", b"")):
        (s / name).write_text(name)
        if kind:
            os.setxattr(s / name, "user.llmspell.type", kind.encode())
            os.setxattr(s / name, "user.llmspell.tags", tags)


def _walk(folder: Path) -> list[str]:
    """Return every symlink below *folder*; each must lead to a file that says its own name."""
    found = []
    for base, folders, files in os.walk(folder):
        for name in [*files, *(f for f in folders if os.path.islink(os.path.join(base, f)))]:
            path = Path(base, name)
            assert path.is_symlink()
            assert path.exists(), (path, os.readlink(path))
            found.append(str(path.relative_to(folder)))
    return sorted(found)


def test_by_id(live: Mounted, s: Path) -> None:
    session_id = (s / ".session/id").read_text().strip()
    link = live.path / "by-id" / session_id
    assert session_id in os.listdir(live.path / "by-id")
    assert os.readlink(link) == f"../sessions/{s.name}"
    (link / "f").write_text("through the link")
    assert (s / "f").read_text() == "through the link"
    with refused(errno.ENOENT):
        os.readlink(live.path / "by-id/nothing")


def test_by_status_follows_the_state(live: Mounted, s: Path) -> None:
    views = live.path / "by-status"
    assert sorted(os.listdir(views)) == ["active", "completed", "failed", "suspended"]
    assert s.name in os.listdir(views / "active")
    assert os.readlink(views / "active" / s.name) == f"../../sessions/{s.name}"
    (s / ".session/status").write_text("suspended")
    assert s.name not in os.listdir(views / "active")
    assert s.name in os.listdir(views / "suspended")
    wait_for(lambda: not os.path.lexists(views / "active" / s.name), seconds=1.5)
    with refused(errno.ENOENT):
        os.listdir(views / "sleeping")


def test_by_tag_shows_sessions_and_artifacts(live: Mounted, s: Path) -> None:
    _fill(live, s)
    tag = f"t-{s.name[-20:]}/with a slash %2F"
    (s / ".session/tags").write_text(f"{tag}\n")
    os.setxattr(s / "a.csv", "user.xdg.tags", tag.encode())
    shown = tag.replace("%2F", "%252F").replace("/", "%2F")
    assert shown in os.listdir(live.path / "by-tag")
    folder = live.path / "by-tag" / shown
    assert sorted(os.listdir(folder)) == ["artifacts", "sessions"]
    assert os.listdir(folder / "sessions") == [s.name]
    assert (folder / "sessions" / s.name / "a.csv").read_text() == "a.csv"
    assert _walk(folder / "artifacts") == [f"{s.name}/a.csv"]
    assert _walk(live.path / "by-tag/y/artifacts" / s.name) == ["results/b.csv"]
    with refused(errno.ENOENT):
        os.readlink(live.path / "by-tag/y/artifacts" / s.name / "a.csv")


def test_by_type_shows_the_artifacts_of_a_type(live: Mounted, s: Path) -> None:
    _fill(live, s)
    assert {"tool_result", "user_input"} <= set(os.listdir(live.path / "by-type"))
    assert _walk(live.path / "by-type/tool_result" / s.name) == ["a.csv", "results/b.csv"]
    assert _walk(live.path / "by-type/user_input" / s.name) == ["c"]
    assert (live.path / "by-type/tool_result" / s.name / "results/b.csv").read_text() == "results/b.csv"
    with refused(errno.ENOENT):
        os.listdir(live.path / "by-type/Not A Type")


def test_search_is_any_query(live: Mounted, s: Path) -> None:
    _fill(live, s)
    search = live.path / "search"
    assert os.listdir(search) == []
    mine = f"session:{s.name}"
    for query, wanted in (
        ("name:*.csv", ["a.csv", "results/b.csv"]),
        ("name:results%2F*", ["results/b.csv"]),
        ("type:tool_result -tag:y", ["a.csv"]),
        ("type:nothing", []),
        ("size:>1k", []),
        ("created:>2020-01-01 tag:x,y", ["a.csv", "results/b.csv"]),
    ):
        folder = search / f"{mine} {query}"
        assert _walk(folder) == [f"{s.name}/{name}" for name in wanted], query
        assert os.listdir(folder) == ([s.name] if wanted else [])
    assert (search / f"{mine} name:c" / s.name / "c").read_text() == "c"
    live.shell(f"cp -L 'search/{mine} tag:y/{s.name}/results/b.csv' sessions/{s.name}/copy", live.path)
    assert (s / "copy").read_text() == "results/b.csv"


def test_bad_queries_are_einval_with_the_reason_in_the_log(live: Mounted, s: Path) -> None:
    for query in ("size:>big", 'open "quote', "nonsense:x", "created:yesterday-ish"):
        with refused(errno.EINVAL, what=query):
            os.listdir(live.path / "search" / query)
    assert "nonsense" in live.log.read_text()


def test_a_search_is_fresh(live: Mounted, s: Path) -> None:
    folder = live.path / "search" / f"session:{s.name} tag:found"
    assert os.listdir(folder) == []
    (s / "f").write_text("x")
    os.setxattr(s / "f", "user.xdg.tags", b"found")
    assert os.listdir(folder / s.name) == ["f"]
    (s / "f").unlink()
    assert os.listdir(folder) == []


def _changes(folder: Path) -> Calls:
    new = folder / "new"
    return lambda: new.write_text("x"), new.mkdir, lambda: new.symlink_to("x")


def test_views_change_nothing(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    for view in ("by-id", "by-status", "by-status/active", "by-tag", "by-type", "by-type/user_input", "search"):
        folder = live.path / view
        for call in _changes(folder):
            with refused(errno.EROFS, errno.EPERM, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.ENOENT):
                call()
    with refused(errno.EROFS, errno.EPERM):
        (live.path / "by-status/active" / s.name).unlink()
    with refused(errno.EROFS, errno.EPERM):
        os.rename(live.path / "by-type/user_input" / s.name / "f", s / "g")
    live.shell(f"rm -rf by-status/active/{s.name} search/type:user_input by-tag", live.path, check=False)
    assert (s / "f").read_text() == "x"


def test_the_root_lists_what_is_there(live: Mounted, s: Path) -> None:
    names = ["README", "by-id", "by-status", "by-tag", "by-type", "search", "sessions"]
    assert sorted(os.listdir(live.path)) == names
    text = (live.path / "README").read_text()
    assert len(text) == (live.path / "README").stat().st_size
    assert "sessions/" in text
    assert live.shell("find by-id by-status by-tag by-type search | wc -l", live.path).returncode == 0


ODD_QUERIES = (
    "   ", "-", "--", "-x", ".hidden", "..x", "...", "'", '"', '"a b"', 'a"b', "%2F", "%252F", "%", "%%2F", "a%2Fb",
    "name:%2Fx", "session:%2F", "id:", "id:zz", "tag:", "tag:,", "tag:ü,日本", "naïve words", "日本語", "\u202e", "\n",
    "a\nb", "\t", "\\", "a\\", "name:[", "name:[a-", "name:**%2F**", "name:*", "meta.:x", "meta.a.b:x", ":", "::", "x:",
    ":x", "size:>1k,<2k", "size:99999999999999999999", "created:>9999-12-31", "created:<1h", "\x7f", "NEAR(a b)",
    "a OR b", "*", "a*", "'; DROP TABLE entry; --", "é" * 127, "x" * 255,
)  # fmt: skip


def test_any_query_is_a_folder_or_invalid(live: Mounted, s: Path) -> None:
    _fill(live, s)
    for query in ODD_QUERIES:
        try:
            sessions = os.listdir(live.path / "search" / query)
        except OSError as error:
            assert error.errno == errno.EINVAL, query  # noqa: PT017
        else:
            assert set(sessions) <= set(os.listdir(live.sessions)), query
    with refused(errno.EILSEQ):
        os.listdir(os.fsencode(live.path) + b"/search/\xff")
    with refused(errno.ENAMETOOLONG):
        os.listdir(live.path / "search" / ("x" * 256))


def test_a_session_with_a_slash_in_its_name_is_found_by_it(live: Mounted) -> None:
    with live.open() as store:
        made = store.sessions.create("reports/2026%2F")
        store.artifacts.put(made.id, "a", b"a")
    shown = "reports%2F2026%252F"
    wait_for(lambda: shown in os.listdir(live.sessions))
    assert os.readlink(live.path / f"by-id/{made.id}") == f"../sessions/{shown}"
    for query in ("session:reports%2F2026%252F", "session:reports%2F*", "session:reports%252F*"):
        assert _walk(live.path / "search" / query) == [f"{shown}/a"], query
    assert os.listdir(live.path / "search/session:reports%2F2026") == []
    assert (live.path / "by-type/user_input" / shown / "a").read_bytes() == b"a"


def test_a_tag_that_can_be_no_name_is_not_listed(live: Mounted, s: Path) -> None:
    tags = ["/" * 200, "...", "%2F", "x" * 255]
    (s / "f").write_text("f")
    with live.open() as store:
        store.sessions.update(s.name, tags=tags)
    assert {"...", "%252F", "x" * 255} <= set(os.listdir(live.path / "by-tag"))
    assert not [name for name in os.listdir(live.path / "by-tag") if len(name) > 255]
    assert os.listdir(live.path / "by-tag/%252F/sessions") == [s.name]
    assert os.listdir(live.path / "search" / f"session:{s.name} name:f") == [s.name]


def test_views_of_many_sessions_list_each_once(live: Mounted, s: Path) -> None:
    with live.open() as store:
        names = {store.sessions.create(f"{s.name}-{number}", tags=["many"]).dirname for number in range(50)}
        for name in names:
            for file in ("a", "b", "c/d"):
                store.artifacts.put(name, file, b"x", artifact_type="of-many", tags=["in-many"])
    for view in (
        "by-tag/many/sessions",
        "by-tag/in-many/artifacts",
        "by-type/of-many",
        "search/type:of-many tag:in-many",
    ):
        listed = os.listdir(live.path / view)
        assert set(listed) == names, view
        assert len(listed) == len(names), view
        for name in list(names)[:3]:
            assert (live.path / view / name).lstat().st_ino == _inode_listed(live.path / view, name)
    assert names <= set(os.listdir(live.path / "by-status/active"))


def _inode_listed(folder: Path, name: str) -> int:
    with os.scandir(folder) as found:
        return next(entry.inode() for entry in found if entry.name == name)
