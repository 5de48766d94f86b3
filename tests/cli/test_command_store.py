"""The commands on the whole store, and what all commands share."""

from __future__ import annotations

import os
import pty
import sqlite3
import subprocess
import sys
import time
import tomllib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llmspellfs import __version__, open_store
from llmspellfs.cli import render
from llmspellfs.cli.root import COMMANDS, main
from llmspellfs.cli.views import human_size
from llmspellfs.storage import disk
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.lost import PART

ROOT = Path(__file__).parents[2]

if TYPE_CHECKING:
    from collections.abc import Callable


def test_init_makes_a_store_and_may_be_said_again(cli: Any, tmp_path: Path) -> None:
    for _ in range(2):
        assert cli.ok("init", str(tmp_path / "new")) == f"store: {tmp_path / 'new'}\n"
    assert (tmp_path / "new" / "index.db").is_file()


def test_the_environment_says_where_the_store_is(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from click.testing import CliRunner

    monkeypatch.setenv("LLMSPELL_SESSION_PATH", str(tmp_path / "elsewhere"))
    assert CliRunner().invoke(main, ["init"]).output == f"store: {tmp_path / 'elsewhere'}\n"


def test_shared_options_stand_before_and_after_the_command(cli: Any, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    cli.ok("session", "create", "x", "--store", other)
    cli.ok("init")
    assert cli.ok("session", "list") == ""
    assert len(cli("--json", "session", "--store", other, "list").stdout.splitlines()) == 1


def test_config_prints_toml_that_says_the_same(cli: Any, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[runtime.sessions]\nmax_sessions = 3\n")
    printed = cli.ok("config", "--config", str(file))
    assert tomllib.loads(printed)["runtime"]["sessions"]["max_sessions"] == 3
    assert printed.startswith(f"# from {file}\n# store: {cli.path}\n")
    file.write_text(printed)
    assert cli.json("config", "--config", str(file))[0]["max_sessions"] == 3


def test_stats_count_what_is_there(cli: Any, q4: str) -> None:
    for name in ("a", "b"):
        cli.ok("artifact", "put", "q4", "-", "--name", name, stdin="same content")
    found = cli.json("stats")[0]
    assert (found["artifacts"], found["logical_bytes"], found["unique_bytes"]) == (2, 24, 12)
    assert found["sessions"]["active"] == 1
    assert "1 active" in cli.ok("stats")


def test_fsck_of_a_whole_store_is_clean(cli: Any, q4: str) -> None:
    assert cli.ok("fsck").startswith("clean: 1 session, 1 event")
    assert cli.json("fsck")[0]["ok"] is True


def test_fsck_takes_lost_content_from_a_backup_and_only_for_a_repair(cli: Any, q4: str, tmp_path: Path) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "big.bin", stdin=os.urandom(100_000))
    cli.ok("backup", "--no-hardlink", str(tmp_path / "b"))
    next(path for path in (cli.path / "blobs").rglob("*") if path.is_file()).unlink()
    assert cli("fsck", "--from", str(tmp_path / "b")).exit_code == 2
    assert cli("fsck", "--repair", "--from", str(tmp_path / "none")).exit_code == 1
    assert "advice: " in cli("fsck", "--repair").stdout
    assert "clean: 1 session" in cli.ok("fsck", "--repair", "--from", str(tmp_path / "b"))
    assert cli.ok("fsck").startswith("clean: 1 session")


def test_fsck_names_the_harmed_artifact_and_exits_1(cli: Any, q4: str) -> None:
    content = os.urandom(400_000)
    cli.ok("artifact", "put", "q4", "-", "--name", "big.bin", stdin=content)
    blob = next(path for path in (cli.path / "blobs").rglob("*") if path.is_file())
    whole = blob.read_bytes()
    blob.write_bytes(b"\0" + whole[1:] if whole[0] else b"\1" + whole[1:])
    result = cli("fsck")
    assert result.exit_code == 1
    assert "harmed: q4:big.bin" in result.stdout
    assert cli("fsck", "--json").exit_code == 1
    assert "corrupt" in cli.fails("artifact", "get", "q4:big.bin", "copy.bin")
    assert os.listdir() == []
    blob.write_bytes(whole)


def test_gc_removes_what_a_purge_left(cli: Any, q4: str) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "big.bin", stdin=os.urandom(400_000))
    cli.ok("session", "purge", "q4")
    for _ in range(2):
        assert cli.json("gc", "--grace", "0")[0]["dry_run"] is False
    assert [path for path in (cli.path / "blobs").rglob("*") if path.is_file()] == []
    assert cli.ok("gc", "--dry-run") == "would be: 0 pruned, 0 marked, 0 removed, 0 B freed\n"


def test_gc_says_how_old_what_no_row_names_has_to_be(cli: Any, q4: str) -> None:
    orphan = cli.path / "blobs/ab" / f"ab{1:062d}"
    disk.make_folder("test", orphan.parent)
    orphan.write_bytes(bytes(2048))
    orphan.chmod(0o600)
    assert f"blobs/ab/{orphan.name}: 2048 bytes that no row names: `gc` removes them, an hour old" in cli.ok("fsck")
    fresh = "0 pruned, 0 marked, 0 removed, 0 B freed; 1 orphan of 2.0 KiB not {} s old yet, or coming in\n"
    assert cli.ok("gc", "--dry-run") == "would be: " + fresh.format(3600)
    assert cli.ok("gc", "--grace", "0") == fresh.format(60)
    os.utime(orphan, (0, 0))
    assert cli.ok("gc") == "0 pruned, 0 marked, 1 removed, 1 of them orphans, 2.0 KiB freed\n"


def test_a_dry_run_of_gc_says_what_would_be_done(cli: Any, q4: str) -> None:
    config = cli.path.parent / "own.toml"
    config.write_text("[runtime.sessions]\nhistory_days = 0\n")
    cli.ok("artifact", "put", "q4", "-", "--name", "big.bin", stdin=os.urandom(400_000))
    cli.ok("artifact", "rm", "q4:big.bin")
    said = cli.ok("gc", "--dry-run", "--config", str(config))
    assert said == "would be: 1 pruned, 1 marked, 0 removed, 0 B freed\n"
    assert cli.json("gc", "--dry-run", "--config", str(config))[0]["condemned"] == 1
    assert cli.ok("gc", "--config", str(config)).startswith("1 pruned, 1 marked, 0 removed, 0 B freed")
    assert "1 removed, 390.6 KiB freed" in cli.ok("gc", "--config", str(config), "--grace", "0")


def test_verify_says_each_chain(cli: Any, q4: str) -> None:
    cli.ok("session", "create", "q5")
    assert cli.ok("verify", "q4") == "q4: 1 event, unbroken\n"
    assert cli.json("verify", "q4")[0]["head"] == cli.json("session", "show", "q4")[0]["head"]
    assert len(cli.json("verify")) == 2


def test_anchors_are_printed_and_held_against_the_store(cli: Any, q4: str, tmp_path: Path) -> None:
    lines = cli.ok("verify", "--anchor").splitlines()
    assert lines[0].startswith("llmspellfs-anchors 1 ")
    assert lines[1:] == [f"{q4} 1 {cli.json('session', 'show', 'q4')[0]['head']}"]
    assert [set(line) for line in cli.json("verify", "--anchor")][1] == {"session_id", "seq", "head"}
    kept = tmp_path / "anchors"
    kept.write_text("\n".join(lines) + "\n")
    cli.ok("artifact", "put", "q4", "-", "--name", "later", stdin="x")
    assert cli.ok("verify", "--against", str(kept)) == "q4: 2 events, unbroken\n"
    assert cli.ok("verify", "q4", "--against", "-", stdin=cli.ok("verify", "--anchor", "--json"))
    kept.write_text("\n".join([lines[0], lines[1].replace(lines[1][-64:], "0" * 64)]) + "\n")
    result = cli("verify", "--against", str(kept))
    assert result.exit_code == 1
    assert result.stdout == (
        "q4: BROKEN: event 1: not the one that the anchor names; the chain was rewritten at it or before\n"
    )


def test_anchors_that_cannot_be_read_are_one_line(cli: Any, q4: str, tmp_path: Path) -> None:
    kept = tmp_path / "anchors"
    kept.write_bytes(cli.ok("verify", "--anchor").encode() + b"\xff\0\n")
    assert cli.fails("verify", "--against", str(kept), status=2).startswith(f"{kept}, line 3: expected a session's id")
    assert cli.fails("verify", "--against", str(tmp_path)) == f"{tmp_path}: Is a directory"
    assert "No such file" in cli.fails("verify", "--against", str(tmp_path / "none"))
    assert "found nothing" in cli.fails("verify", "--against", "-", status=2, stdin="")
    assert "goes with neither" in cli.fails("verify", "--anchor", "q4", status=2)


def test_a_purge_lists_what_went(cli: Any, q4: str) -> None:
    content = os.urandom(100_000)
    cli.ok("artifact", "put", "q4", "-", "--name", "big.bin", "--tag", "t", stdin=content)
    digest = cli.json("artifact", "show", "q4:big.bin")[0]["content_hash"]
    assert cli.ok("artifact", "purge", "--prove", "--yes", "q4:big.bin").splitlines() == [
        f"unlinked: blobs/{digest[:2]}/{digest}",
        f"content: {digest}",
        "erased: 1 row, 1 label, 0 full-text entries, 0 messages",
        "q4:big.bin: purged, 97.7 KiB freed",
    ]
    assert "others" not in cli.ok("session", "purge", "--yes", "q4")


def test_scrub_reads_all_and_names_what_is_harmed(cli: Any, q4: str) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "big.bin", stdin=os.urandom(100_000))
    assert cli.ok("scrub") == "1 piece of content read, 97.7 KiB: sound\n"
    assert "all of it by" in cli.ok("stats")
    blob = next(path for path in (cli.path / "blobs").rglob("*") if path.is_file())
    whole = blob.read_bytes()
    blob.write_bytes(b"\0" * 9 + whole[9:])
    result = cli("scrub", "--share", "50")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (1, "harmed: q4:big.bin")
    assert cli.json("stats")[0]["scrub"]["harmed"] == 1
    assert "harmed: 1 artifact" in cli.ok("stats")
    blob.write_bytes(whole)
    assert cli.json("scrub", "--all")[0]["ok"] is True
    assert "exclude each other" in cli.fails("scrub", "--all", "--share", "3", status=2)


def test_lost_bytes_are_listed_shown_and_recovered(cli: Any, q4: str) -> None:
    assert cli.ok("lost", "list") == ""
    with cli.open() as store:
        lost = store.engine.rooms.lost
        assert lost is not None
        made = lost.add(b"nearly gone", Destination(q4, "a.txt"), "the session was suspended", 1_700_000_000 * 10**9)
    item = cli.json("lost", "list")[0]
    assert (item["id"], item["session"], item["name"], item["size"]) == (made, q4, "a.txt", 11)
    assert "the session was suspended" in cli.ok("lost", "list")
    assert cli.json("lost", "show", made) == [item]
    assert cli.ok("lost", "show", made, "--content") == "nearly gone"
    assert cli.ok("lost", "recover", made) == "q4:a.txt\n"
    assert cli.ok("artifact", "cat", "q4:a.txt") == "nearly gone"
    assert cli.ok("lost", "list") == ""


def test_lost_bytes_are_discarded_by_id_by_age_or_all(cli: Any, q4: str) -> None:
    now = time.time_ns()
    with cli.open() as store:
        lost = store.engine.rooms.lost
        made = [lost.add(b"x" * 2048, Destination(q4, f"{n}"), f"why{PART}", now - n * 3600 * 10**9) for n in range(4)]
    assert "lost       4 items (8.0 KiB)" in cli.ok("stats")
    table = cli.ok("lost", "list")
    assert ("q4" in table, q4 in table) == (True, False)
    assert cli.json("lost", "list")[0]["dirname"] == "q4"
    for words in ((), (made[0], "--all"), ("--all", "--older-than", "2h"), ("--older-than", "soon")):
        cli.fails("lost", "rm", *words, status=2)
    assert "not found" in cli.fails("lost", "rm", made[0], "none")
    assert cli.ok("lost", "rm", made[0], "--yes") == "1 item (2.0 KiB) discarded\n"
    assert cli.json("lost", "rm", "--older-than", "90m", "--yes") == [{"discarded": [made[3], made[2]]}]
    assert [item["id"] for item in cli.json("lost", "list")] == [made[1]]
    assert "q4:1 is a part of what was to be written: why" in cli("lost", "recover", made[1], "--session", "q4").stderr
    with cli.open() as store:
        store.engine.rooms.lost.add(b"x", Destination(), "why", now)
    cli.ok("lost", "rm", "--all", "--yes")
    assert (cli.ok("lost", "list"), cli.json("stats")[0]["lost_bytes"]) == ("", 0)


def test_version(cli: Any) -> None:
    assert cli.ok("--version") == f"llmspellfs {__version__}\n"


def test_every_command_has_help(cli: Any) -> None:
    for name in COMMANDS:
        assert cli.ok(name, "--help").startswith(f"Usage: llmspellfs {name} ")
        assert name in cli.ok("--help")


def test_starting_imports_neither_rich_nor_lua_nor_fuse() -> None:
    code = (
        "import sys; from llmspellfs.cli import main\n"
        "try: main(['session', 'list', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'rich', 'lupa', 'fuse'} & set(sys.modules)), file=sys.stderr)"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stderr == "[]\n"


def test_a_terminal_gets_a_table_and_a_question(
    cli: Any, q4: str, child: Callable[..., subprocess.Popen[bytes]]
) -> None:
    table = _on_terminal(child, "session", "list")
    assert "SESSION" in table
    assert "\x1b[1m" in table
    assert "Erase session q4 for good? [y/N]" in _on_terminal(child, "session", "purge", "q4", answer=b"n\n")
    assert cli.json("session", "show", "q4")


def _on_terminal(child: Callable[..., subprocess.Popen[bytes]], *words: str, answer: bytes = b"") -> str:
    ours, theirs = pty.openpty()
    process = child(*words, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, answer)
    seen = b""
    try:
        while block := os.read(ours, 65536):
            seen += block
    except OSError:  # the terminal's last user has gone
        pass
    os.close(ours)
    process.wait(100)
    return seen.decode()


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1048575, "1.0 MiB"),
        (53687091, "51.2 MiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert human_size(size) == text


def test_a_bar_shows_itself_only_after_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with render.Bar("quick", 10) as bar:
        bar.update(10)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(render, "BAR_AFTER_SECONDS", 0)
    with render.Bar("slow", 10, is_bytes=True) as bar:
        bar.update(5)
    assert "slow" in capsys.readouterr().err


@pytest.mark.parametrize("lose", [Path.unlink, lambda index: index.write_bytes(b"")], ids=["missing", "empty"])
@pytest.mark.parametrize(
    "words",
    [
        ["init"], ["session", "list"], ["session", "create", "more"], ["fsck"], ["fsck", "--repair"], ["gc"],
        ["verify"], ["stats"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_store_whose_index_is_gone_is_no_new_one(
    elsewhere: Any, lose: Callable[[Path], None], words: list[str]
) -> None:
    with open_store(elsewhere.path) as store:
        session = store.sessions.create("s").id
        for name in ("a", "b"):
            store.artifacts.put(session, name, os.urandom(1 << 17))
    blobs = sorted((elsewhere.path / "blobs").rglob("*"))
    lose(elsewhere.path / "index.db")
    said = elsewhere.fails(*words)
    assert "its index" in said
    assert sorted((elsewhere.path / "blobs").rglob("*")) == blobs


@pytest.mark.parametrize("words", [["stats"], ["fsck"], ["fsck", "--repair"], ["session", "list"], ["init"]])
def test_a_small_store_whose_index_is_gone_is_told_so_too(elsewhere: Any, words: list[str]) -> None:
    with open_store(elsewhere.path) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "a", b"small")
        with store.artifacts.open(store.artifacts.put("s", "large", os.urandom(1 << 17))) as reader:
            assert reader.read_at(0, 1)
        store.artifacts.purge("s", "large")
    assert not [path for path in (elsewhere.path / "blobs").rglob("*") if path.is_file()]
    (elsewhere.path / "index.db").unlink()
    assert "its index is gone: only a backup can bring it back" in elsewhere.fails(*words)


def test_fsck_of_an_index_that_does_not_open_counts_nothing(elsewhere: Any) -> None:
    elsewhere.ok("init")
    (elsewhere.path / "index.db").write_bytes(bytes(100) * 100)
    assert elsewhere("fsck").stdout.splitlines()[-1] == "1 problem: nothing more could be looked at"


def test_files_that_no_row_names_are_one_note(cli: Any, q4: str) -> None:
    for number in range(5):
        orphan = cli.path / "blobs/ab" / f"ab{number:062d}"
        disk.make_folder("test", orphan.parent)
        orphan.write_bytes(bytes(2048))
        orphan.chmod(0o600)
    [note] = [line for line in cli.ok("fsck").splitlines() if line.startswith("note: ")]
    assert "blobs: 5 files of 10240 bytes that no row names: `gc` removes them" in note


def test_plain_fsck_says_too_what_a_repair_cannot_mend(elsewhere: Any) -> None:
    with open_store(elsewhere.path) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "a", os.urandom(200_000))
    for blob in elsewhere.path.glob("blobs/*/*"):
        blob.unlink()
    assert "fsck --repair --from BACKUP" in elsewhere("fsck").stdout


def test_a_damaged_index_is_not_said_to_be_a_purges_doing(elsewhere: Any, caplog: pytest.LogCaptureFixture) -> None:
    with open_store(elsewhere.path) as store:
        store.sessions.create("s")
    with closing(sqlite3.connect(elsewhere.path / "index.db")) as db, db:
        root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'purge'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(elsewhere.path / "index.db", "r+b") as index:
        index.seek((root - 1) * size)
        index.write(b"x" * size)
    elsewhere("session", "list")
    said = [record.getMessage() for record in caplog.records]
    assert any("the index is damaged, `llmspellfs fsck` says how" in line for line in said), said
    assert not any("purge" in line for line in said)
