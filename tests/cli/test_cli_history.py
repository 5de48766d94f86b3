"""What the command tells of history: `diff`, `rollback`, `fork`, `checkpoints`."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmspellfs.config import Config
from llmspellfs.model.artifact import Ownership
from llmspellfs.service.paths import Place
from llmspellfs.service.store import Store, open_store

OWN = Ownership(0o755, os.getuid(), os.getgid())
ODD = ["na\nme", 'quo"ted', "back\\slash", "tab\there", "sp ace", "at@3", "c:olon", "é", "-dash", "\x1b[31mred", "'q'"]


def top(store: Store, ref: str, name: str) -> Place:
    session = store.sessions.get(ref)
    return Place(session.sid, session.ino, name)


def put(cli: Any, name: str, content: bytes | str, *words: str, session: str = "q4") -> None:
    cli.ok("artifact", "put", session, "-", "--name", name, *words, stdin=content)


def seq(cli: Any, session: str = "q4") -> int:
    found: int = cli.json("session", "show", session)[0]["seq"]
    return found


def test_a_diff_reads_as_one_of_git_does(cli: Any, q4: str) -> None:
    put(cli, "d/a.txt", "one\ntwo\nthree\n")
    put(cli, "gone", "bye\n")
    put(cli, "same", "same\n")
    cli.ok("session", "save", "q4")
    put(cli, "d/a.txt", "one\n2\nthree", "--tag", "x", "--meta", "k=1")
    put(cli, "new", "")
    put(cli, "binary", b"\xff\0")
    cli.ok("artifact", "rm", "q4:gone")
    cli.ok("session", "tag", "q4", "y")
    assert cli.ok("session", "diff", "q4").splitlines() == [
        'session tags: ["report"] -> ["report", "y"]',
        "added binary",
        "Binary artifacts differ (0 B -> 2 B)",
        "changed d/a.txt",
        '  tags: [] -> ["x"]',
        "  custom.k: unset -> 1",
        "--- a/d/a.txt",
        "+++ b/d/a.txt",
        "@@ -1,3 +1,3 @@",
        " one",
        "-two",
        "-three",
        "+2",
        "+three",
        "\\ No newline at end of file",
        "removed gone",
        "--- a/gone",
        "+++ /dev/null",
        "@@ -1 +0,0 @@",
        "-bye",
        "added new",
    ]


def test_names_and_sizes_alone(cli: Any, q4: str) -> None:
    for name in ("changed", "old name", "gone", "described", "kind"):
        put(cli, name, "x" * 10)
    cli.ok("session", "save", "q4")
    put(cli, "changed", "y" * 2000)
    with cli.open() as store:
        store.entries.rename(top(store, "q4", "old name"), top(store, "q4", "new\nname"))
    for name in ("gone", "kind"):
        cli.ok("artifact", "rm", f"q4:{name}")
    put(cli, "kind/inside", "12345")
    put(cli, "described", "x" * 10, "--tag", "x")
    put(cli, "added", "")
    cli.ok("session", "tag", "q4", "y")
    lines = cli.ok("session", "diff", "q4", "--stat").splitlines()
    assert lines[0].startswith("session tags: ")
    assert [re.split(r"  +", line) for line in lines[2:-1]] == [
        ["A", "added", "0 B", "0 B"],
        ["M", "changed", "10 B", "2.0 KiB", "+1.9 KiB"],
        ["m", "described", "10 B", "10 B", "0 B"],
        ["D", "gone", "10 B", "-10 B"],
        ["T", "kind/", "10 B", "-10 B"],
        ["A", "kind/inside", "5 B", "+5 B"],
        ["R", "old name -> new\\nname", "10 B", "10 B", "0 B"],
    ]
    assert lines[-1] == (
        "7 changes: 2 added, 1 removed, 1 renamed, 1 changed, 1 of metadata, 1 of another kind; 1.9 KiB more"
    )
    assert cli.ok("session", "diff", "q4", "--name-only").splitlines() == [
        "added", "changed", "described", "gone", "kind", "kind/inside", "new\\nname",
    ]  # fmt: skip
    cli.fails("session", "diff", "q4", "--stat", "--name-only", status=2)


def test_a_change_for_programs_is_one_object_a_line(cli: Any, q4: str) -> None:
    put(cli, "a", "one\n")
    cli.ok("session", "save", "q4")
    put(cli, "a", "two\n", "--description", "new")
    put(cli, "na\nme", "x")
    cli.ok("session", "complete", "q4")
    fields, changed, added = cli.json("session", "diff", "q4")
    assert fields == {"kind": "session", "fields": {"status": {"old": "active", "new": "completed"}}}
    assert (changed["kind"], changed["path"], changed["old_path"]) == ("changed", "a", None)
    assert [changed[side]["version"] for side in ("old", "new")] == [1, 2]
    assert changed["new"]["hash"] == cli.json("artifact", "show", "q4:a")[0]["content_hash"]
    assert changed["fields"] == {"description": {"old": "", "new": "new"}}
    assert (added["path"], added["old"], added["new"]["type"], added["new"]["size"]) == ("na\nme", None, "file", 1)
    assert cli.json("session", "diff", "q4", "--stat") == [fields, changed, added]


def test_no_difference_says_nothing_and_exit_code_tells(cli: Any, q4: str) -> None:
    put(cli, "a", "one\n")
    put(cli, "a", "two\n")
    for words in (("session", "diff", "q4", "q4"), ("artifact", "diff", "q4:a", "q4:a")):
        for option in ("--stat", "--name-only", "--json", "--exit-code"):
            assert cli.ok(*words, option) == ""
    for words in (("session", "diff", "q4@2", "q4"), ("artifact", "diff", "q4:a@2", "q4:a")):
        for option in ("--stat", "--name-only", "--json", "--debug"):
            assert cli.ok(*words, option) != ""
            assert cli(*words, option, "--exit-code").exit_code == 1
    at = seq(cli)
    cli.ok("session", "tag", "q4", "y")
    assert cli("session", "diff", f"q4@{at}", "--exit-code").exit_code == 1


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
def test_patch_takes_a_diff_of_a_whole_session(cli: Any, q4: str, tmp_path: Path) -> None:
    old = {f"d/{name}": f"{name}\none\n" * 3 for name in ODD} | {"gone": "x\n", "crlf": "a\r\nb\r\n", "sql": "-- a\n"}
    new = {f"d/{name}": f"{name}\ntwo\n" * 3 + "end" for name in ODD}
    new |= {"crlf": "a\r\n", "sql": "++ b\n", "new d/n": "y\n"}
    with cli.open() as store:
        for name, content in old.items():
            store.artifacts.put("q4", name, content.encode())
        store.sessions.save("q4")
        for name, content in new.items():
            store.artifacts.put("q4", name, content.encode(), tags=["x"])
        store.artifacts.put("q4", "binary", b"\0")
        store.artifacts.delete("q4", "gone")
    for name, content in old.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(content.encode())
    diff = cli("session", "diff", "q4").stdout_bytes
    process = subprocess.run(
        ["patch", "-p1", "--binary", "-s"], input=diff, cwd=tmp_path / "tree", capture_output=True, check=False
    )
    assert process.returncode == 0, (process, diff)
    files = [path for path in (tmp_path / "tree").rglob("*") if path.is_file()]
    found = {str(path.relative_to(tmp_path / "tree")): path.read_bytes().decode() for path in files}
    assert found == new


@pytest.fixture
def ascii_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stdout that takes ASCII alone."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")


def test_text_comes_out_byte_by_byte_whatever_the_locale(
    cli: Any, q4: str, ascii_only: None, child: Callable[..., Any]
) -> None:
    content = "é \x1b[31m\x07 \u202e 漢\r\n".encode()
    put(cli, "a", content)
    process = child("session", "diff", "q4", stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=60)
    assert b"+" + content in out


def on_a_terminal(child: Callable[..., Any], *words: str) -> str:
    """Run *words* on a terminal and return what it shows."""
    ours, theirs = pty.openpty()
    process = child(*words, stdout=theirs, stdin=theirs)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0
    return shown.decode().replace("\r\n", "\n")


@pytest.fixture
def colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wish about colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_terminal_gets_colours_and_nothing_that_moves_its_cursor(
    cli: Any, q4: str, colour: None, child: Callable[..., Any]
) -> None:
    put(cli, "a", "plain\tred\n\x1b[2Jclear\r\n")
    shown = on_a_terminal(child, "session", "diff", "q4")
    assert "\x1b[32m+plain\tred\x1b[0m\n" in shown
    assert "\x1b[32m+\\x1b[2Jclear\\r\x1b[0m\n" in shown


@pytest.fixture
def no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wish of a user who wants none."""
    monkeypatch.setenv("NO_COLOR", "1")


def test_no_color_is_respected(cli: Any, q4: str, no_colour: None, child: Callable[..., Any]) -> None:
    put(cli, "a", "\x1b[2Jclear\n")
    assert on_a_terminal(child, "session", "diff", "q4").endswith("\n+\\x1b[2Jclear\n")


def test_sessions_and_artifacts_with_odd_names(cli: Any) -> None:
    sessions = ("x@2", "a:b", "a:b@1", "c1")
    with cli.open() as store:
        for session in sessions:
            store.sessions.create(session)
            for content in (b"one\n", b"two\n"):
                for name in ODD:
                    store.artifacts.put(session, name, content)
    for session in sessions:
        first = len(ODD) + 1
        assert len(cli.json("session", "diff", f"{session}@{first}")) == len(ODD)
        for name in ODD:
            lines = cli.ok("artifact", "diff", f"{session}:{name}@{first}", f"{session}:{name}").splitlines()
            assert lines[0].startswith("changed ")
            assert lines[-2:] == ["-one", "+two"]
            assert cli.ok("artifact", "rollback", f"{session}:{name}@{first}").endswith(f"to {first}, version 3\n")


def test_symlinks_folders_and_another_kind_are_named(cli: Any, q4: str) -> None:
    put(cli, "file", "x\n")
    with cli.open() as store:
        store.entries.make_symlink(top(store, "q4", "link"), "file", OWN)
        store.entries.make_folder(top(store, "q4", "empty"), OWN)
    cli.ok("session", "save", "q4")
    with cli.open() as store:
        store.artifacts.delete("q4", "file")
        store.entries.make_folder(top(store, "q4", "file"), OWN)
        store.entries.rename(top(store, "q4", "empty"), top(store, "q4", "hollow"))
        store.entries.remove(top(store, "q4", "link"), folder=False)
        store.entries.make_symlink(top(store, "q4", "link"), "hollow", OWN)
    assert [line for line in cli.ok("session", "diff", "q4").splitlines() if line[0] not in "-+@\\"] == [
        "removed file", "added folder file", "renamed folder empty -> hollow", "changed symlink link",
    ]  # fmt: skip
    kinds = {(each["kind"], each["path"]): each for each in cli.json("session", "diff", "q4")}
    assert kinds["changed", "link"]["old"] == {"type": "symlink", "target": "file"}
    assert kinds["added", "file"]["new"] == {"type": "folder"}


def test_an_artifact_is_compared_with_what_it_was(cli: Any, q4: str) -> None:
    for content in ("one\n", "two\n", "three\n"):
        put(cli, "a", content)
    ident = cli.json("artifact", "history", "q4:a")[0]["id"]
    assert cli.ok("artifact", "diff", "q4:a").splitlines() == [
        "changed q4:a (version 2) -> q4:a", "--- q4:a (version 2)", "+++ q4:a", "@@ -1 +1 @@", "-two", "+three",
    ]  # fmt: skip
    for words in ((ident,), (f"{ident}@2", f"{ident}@4"), ("q4:a@2",), ("q4:a@2", "q4:a")):
        assert cli.ok("artifact", "diff", *words).splitlines()[-2:] == ["-one", "+three"]
    (found,) = cli.json("artifact", "diff", "q4:a@2", "q4:a@3")
    assert (found["kind"], found["old_ref"], found["new_ref"]) == ("changed", "q4:a@2", "q4:a@3")
    assert "1 change: 1 changed" in cli.ok("artifact", "diff", "q4:a", "--stat")
    cli.ok("artifact", "put", "q4", "-", "--name", "a", "--tag", "x", stdin="three\n")
    assert cli.ok("artifact", "diff", "q4:a@4").splitlines() == ["metadata q4:a@4 -> now", '  tags: [] -> ["x"]']


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("session", "diff"), 2),
        (("session", "diff", "none"), 1),
        (("session", "diff", "q4@99"), 1),
        (("session", "diff", "q4@c9"), 1),
        (("session", "diff", "q4@nonsense"), 2),
        (("session", "diff", "q4", "q4@0"), 1),
        (("session", "rollback", "q4"), 2),
        (("session", "rollback", "q4@9999d"), 1),
        (("session", "fork", "q4"), 2),
        (("session", "fork", "q4@0", "x"), 1),
        (("session", "checkpoints", "none"), 1),
        (("artifact", "diff", "q4:none"), 1),
        (("artifact", "diff", "q4"), 2),
        (("artifact", "rollback", "q4:a"), 2),
        (("artifact", "rollback", "q4:a@1"), 1),
        (("artifact", "rollback", "q4:d@2"), 1),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(cli: Any, q4: str, words: tuple[str, ...], status: int) -> None:
    put(cli, "d/a", "x")
    before = seq(cli)
    cli.fails(*words, status=status)
    assert seq(cli) == before


def test_a_deleted_session_has_no_diff(cli: Any, q4: str) -> None:
    cli.ok("session", "delete", "q4")
    for ref in ("q4", "q4@1", q4):
        assert "session not found" in cli.fails("session", "diff", ref)


def test_a_frozen_session_is_compared_and_forked_but_not_rolled_back(cli: Any, q4: str) -> None:
    put(cli, "a", "x\n")
    cli.ok("session", "complete", "q4")
    assert cli.ok("session", "diff", "q4@1").startswith('session status: "active" -> "completed"\nadded a\n')
    cli.ok("session", "fork", "q4", "f")
    assert "completed" in cli.fails("session", "rollback", "q4@1")
    assert "completed" in cli.fails("artifact", "rollback", "q4:a@2")


def test_rollback_and_forward(cli: Any, q4: str) -> None:
    put(cli, "d/a", "one\n")
    cli.ok("session", "save", "q4", "--label", "first")
    put(cli, "d/a", "two\n")
    put(cli, "b", "x")
    cli.ok("artifact", "rm", "q4:d/a")
    before = seq(cli)
    assert cli.ok("session", "rollback", "q4@c1") == "q4: rolled back to c1\n"
    assert cli.ok("artifact", "cat", "q4:d/a") == "one\n"
    assert cli.ok("session", "diff", "q4@c1", "q4") == ""
    (session,) = cli.json("session", "rollback", f"q4@{before}")
    assert (session["dirname"], session["artifact_count"], session["seq"]) == ("q4", 1, seq(cli))
    assert cli.ok("session", "diff", f"q4@{before}", "q4", "--exit-code") == ""
    assert cli.ok("artifact", "rollback", "q4:d/a@c1") == "d/a: rolled back to c1, version 3\n"
    (artifact,) = cli.json("artifact", "rollback", "q4:d/a@5")
    assert (artifact["session"], artifact["name"], artifact["version"], artifact["live"]) == ("q4", "d/a", 4, True)
    assert cli.json("verify")[0]["ok"] is True


def test_a_fork_prints_its_id(cli: Any, q4: str) -> None:
    put(cli, "a", "x\n", "--tag", "t")
    at = seq(cli)
    cli.ok("artifact", "rm", "q4:a")
    fork = cli.ok("session", "fork", f"q4@{at}", "a/b").strip()
    assert cli.ok("artifact", "cat", f"{fork}:a") == "x\n"
    (session,) = cli.json("session", "show", fork)
    assert (session["name"], session["dirname"], session["parent_session_id"]) == ("a/b", "a%2Fb", q4)
    assert cli.json("session", "fork", "q4", "empty")[0]["artifact_count"] == 0
    assert cli.ok("session", "diff", f"q4@{at}", fork) == ""
    assert [found["session"] for found in cli.json("find", "tag:t")] == ["a%2Fb"]


def test_checkpoints_are_listed_with_their_seqs(cli: Any, q4: str) -> None:
    assert cli.ok("session", "checkpoints", "q4") == ""
    cli.ok("session", "save", "q4", "--label", "la\nbel")
    put(cli, "a", "x")
    cli.ok("session", "save", "q4")
    assert [(c["number"], c["seq"], c["label"]) for c in cli.json("session", "checkpoints", "q4")] == [
        (1, 2, "la\nbel"), (2, 4, None),
    ]  # fmt: skip
    table = cli.ok("session", "checkpoints", "q4").splitlines()
    assert table[0].split() == ["NUMBER", "SEQ", "AT", "LABEL"]
    assert table[1].endswith("la\\nbel")
    assert cli.ok("session", "diff", "q4@c1", "q4@c2", "--name-only") == "a\n"


def test_points_are_times_and_ages_and_end_at_the_horizon(cli: Any) -> None:
    day = 86400 * 10**9
    now = [1_700_000_000 * 10**9]
    with open_store(cli.path, config=Config(history_days=2), now=lambda: now[0]) as store:
        store.sessions.create("s")
        for number in range(6):
            store.artifacts.put("s", "a", f"{number}\n".encode())
            if number == 0:
                store.sessions.save("s")
            now[0] += day
        store.upkeep.gc()
    fails = [cli.fails("session", "diff", ref) for ref in ("s@4", "s@2023-11-16", "s@9999d", "s@c2")]
    assert fails[0] == "seq not found: 4"
    assert fails[3] == "checkpoint not found: 2"
    shown = {"s@c1": "-0", "s@3": "-0", "s@7": "-4", "s@2023-11-18": "-4", "s@2023-11-18T22:13:20": "-4"}
    for ref, line in shown.items():
        assert cli.ok("session", "diff", ref).splitlines()[-2:] == [line, "+5"], ref
    assert cli.ok("session", "diff", "s@1d") == ""
    assert cli.ok("session", "rollback", "s@c1") == "s: rolled back to c1\n"
    assert cli.ok("artifact", "cat", "s:a") == "0\n"


def test_harmed_content_is_an_error_after_what_could_be_told(cli: Any, q4: str) -> None:
    put(cli, "a", "x\n")
    put(cli, "big", os.urandom(1 << 20).hex())
    for file in cli.path.glob("blobs/*/*"):
        file.chmod(0o600)
        kept = file.read_bytes()
        file.write_bytes(b"\0" * len(kept))
        result = cli("session", "diff", "q4@1")
        assert (result.exit_code, "+x\n" in result.stdout) == (1, True)
        assert len(result.stderr.splitlines()) == 1
        file.write_bytes(kept)


def test_help_says_what_points_are(cli: Any) -> None:
    for words in (("session", "diff"), ("session", "rollback"), ("session", "fork"), ("artifact", "diff"),
                  ("artifact", "rollback")):  # fmt: skip
        text = " ".join(cli.ok(*words, "--help").split())
        assert "a checkpoint (c3 is the third; `session checkpoints` lists them with their seqs)" in text
