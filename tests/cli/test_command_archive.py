"""`export` and `import`: files, pipes, and what they say."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import Cli
from tests.service.archives import members, packed

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def other(tmp_path: Path) -> Cli:
    """The command on another store."""
    command = Cli(tmp_path / "other")
    command.ok("init")
    return command


@pytest.fixture
def file(cli: Cli, q4: str, tmp_path: Path) -> str:
    """An archive of q4."""
    cli.ok("artifact", "put", "q4", "-", "--name", "d/a", stdin="first")
    cli.ok("artifact", "put", "q4", "-", "--name", "d/a", stdin="second")
    path = str(tmp_path / "q4.tar.zst")
    assert cli.ok("export", "q4", path).startswith(f"{path}: 1 session, 2 contents of 11 B, ")
    return path


def test_a_session_goes_through_a_file(file: str, q4: str, other: Cli) -> None:
    said = other.ok("import", file)
    assert said == "q4: imported, with history: 2 contents of 11 B\n"
    assert other.ok("artifact", "cat", "q4:d/a") == "second"
    assert other.json("session", "show", "q4")[0]["id"] == q4
    assert len(other.json("artifact", "history", "q4:d/a")) == 2
    assert q4 in other.fails("import", file)
    assert other.json("import", file, "--as", "copy")[0]["sessions"][0]["dirname"] == "copy"
    assert Path(file).stat().st_mode & 0o777 == 0o600


def test_only_an_archive_is_replaced_without_force(cli: Cli, file: str, tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("dear all")
    assert cli.fails("export", "q4", str(letter)).endswith("which is no archive (--force replaces it)")
    assert letter.read_text() == "dear all"
    assert cli.ok("export", "q4", str(letter), "--force").startswith(f"{letter}: 1 session")
    assert cli.ok("export", "q4", file).startswith(f"{file}: 1 session")
    assert letter.read_bytes() == Path(file).read_bytes()


def test_a_file_that_is_forgotten_behind_sessions_is_asked_for(
    cli: Cli, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.ok("session", "create", "s2")
    monkeypatch.chdir(tmp_path)
    assert "FILE comes last, and 's2' is a session" in cli.fails("export", "q4", "s2", status=2)
    assert not Path("s2").exists()
    assert cli.ok("export", "q4", "./s2").startswith("./s2: 1 session")


def test_an_import_says_what_the_new_session_has(file: str, other: Cli) -> None:
    assert other.ok("import", file, "--as", "x", "--dry-run").endswith(", as a new session: 1 content of 6 B\n")
    assert other.ok("import", file, "--as", "x") == "x: imported, as a new session: 1 content of 6 B\n"


def test_a_session_goes_through_a_pipe(cli: Cli, file: str, other: Cli, child: Callable[..., Any]) -> None:
    export = child("export", "q4", "-", stdout=subprocess.PIPE)
    data = export.communicate()[0]
    assert export.returncode == 0
    assert data == Path(file).read_bytes()
    assert "q4: imported" in other.ok("import", "-", stdin=data)


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_what_is_no_file_is_written_to_and_stays_what_it_is(cli: Cli, file: str, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with (tmp_path / "got").open("wb") as out:
        reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=out)
    try:
        assert cli.ok("export", "q4", str(tmp_path / name)) == ""
        assert (tmp_path / "pipe").is_fifo()
        assert reader.wait() == 0
    finally:
        reader.kill()
        reader.wait()
    assert (tmp_path / "got").read_bytes() == Path(file).read_bytes()
    assert (tmp_path / "link").is_symlink()


def test_a_link_to_a_file_stays_one(cli: Cli, file: str, q4: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(Path(file).read_bytes() + b"an older one")
    (tmp_path / "link").symlink_to("there")
    cli.ok("export", "q4", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_bytes() == Path(file).read_bytes()
    cli.fails("export", "nobody", str(tmp_path / "there"))
    assert (tmp_path / "there").read_bytes() == Path(file).read_bytes()
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_stdout_by_its_other_name(cli: Cli, file: str, child: Callable[..., Any]) -> None:
    export = child("export", "q4", "/dev/stdout", stdout=subprocess.PIPE)
    assert (export.communicate()[0], export.returncode) == (Path(file).read_bytes(), 0)
    get = child("artifact", "get", "q4:d/a", "/dev/stdout", "--force", stdout=subprocess.PIPE)
    assert (get.communicate()[0], get.returncode) == (b"second", 0)


def test_an_export_without_history_and_metadata(cli: Cli, file: str, other: Cli, tmp_path: Path) -> None:
    path = str(tmp_path / "bare")
    assert "leave out both" in cli.fails("export", "q4", path, "--no-metadata", status=2)
    assert cli.json("export", "q4", path, "--no-history", "--no-metadata")[0]["contents"] == 1
    assert other.ok("import", path, "--dry-run").startswith("q4: verified, nothing made, as a new session")
    assert other.ok("session", "list") == ""
    other.ok("import", path)
    assert (other.json("session", "show", "q4")[0]["tags"], os.listdir(tmp_path / "work")) == ([], [])


def test_what_fails_leaves_no_file_and_says_one_line(cli: Cli, q4: str, other: Cli, tmp_path: Path) -> None:
    assert cli.fails("export", "nobody", str(tmp_path / "x")) == "session not found: nobody"
    assert cli.fails("export", "q4", str(tmp_path / "no/x"))
    assert not [name for name in os.listdir(tmp_path) if name.startswith("x.") or name == "x"]
    assert other.fails("import", str(tmp_path / "nothing")).endswith("No such file or directory")
    cli.fails("export", "q4", status=2)


def test_a_session_whose_past_is_harmed_is_exported_without_it_alone(cli: Cli, file: str, other: Cli) -> None:
    was = harm(cli, "x/y")
    before = Path(file).read_bytes()
    line = cli.fails("export", "q4", file)
    assert line.startswith("corrupt: q4: no import would take it: archive: sessions/")
    assert line.endswith("that its event covers; `export --no-history` takes what there is now")
    assert Path(file).read_bytes() == before
    cli.ok("export", "q4", file, "--no-history")
    assert other.ok("import", file).startswith("q4: imported, as a new session")
    harm(cli, was)


def harm(cli: Cli, mime_type: str) -> str:
    """Have the first version of what q4 has say *mime_type*; return what it said."""
    with closing(sqlite3.connect(cli.path / "index.db")) as db, db:
        was: str = db.execute("SELECT mime_type FROM entry WHERE version = 1").fetchone()[0]
        db.execute("UPDATE entry SET mime_type = ? WHERE version = 1", (mime_type,))
    return was


def test_a_hostile_archive_is_one_line_and_nothing_imported(file: str, other: Cli, tmp_path: Path) -> None:
    found = members(Path(file).read_bytes())
    bad = packed([*found, ("../../etc/cron.d/x\x1b[2J", b"x")])
    line = other.fails("import", "-", stdin=bad)
    assert line.startswith("corrupt: archive: ")
    assert "\x1b" not in line
    assert other.fails("import", file, "--max-size", "1k") == "too large: --max-size = 1024 bytes"
    assert other.fails("import", file, "--max-entries", "3") == "limit exceeded: --max-entries = 3"
    assert other.ok("session", "list") == ""
