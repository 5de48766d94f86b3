"""`backup` and `restore-store`, beside a live mount too."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from tests.cli.conftest import Cli
from tests.mount.conftest import needs_fuse
from tests.mount.live import Mounted

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounted]:
    """A live mount, whole at its end."""
    live = Mounted(tmp_path / "live")
    live.mount()
    yield live
    live.end()
    live.check(is_whole=True)


def test_a_backup_is_made_told_and_restored(cli: Cli, q4: str, tmp_path: Path) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "big", stdin=os.urandom(3 << 20))
    target, restored = str(tmp_path / "b"), tmp_path / "r"
    first = cli.json("backup", target)[0]
    assert (first["linked"] > 0, first["copied"], first["missing"]) == (True, 0, [])
    assert first["event"] == cli.json("stats")[0]["events"]
    again = cli.ok("backup", target, "--no-hardlink")
    assert again.startswith(f"{target}: event {first['event']}, change {first['change']}, 20")
    assert f": 0 linked, {first['linked']} copied (" in again
    assert cli.ok("backup", target, "--no-hardlink").endswith(": 0 linked, 0 copied (0 B), 0 removed\n")
    said = cli.ok("restore-store", target, "--to", str(restored))
    held = re.search(r"[0-9]+ contents?, [0-9]+ chunks?", cli.ok("fsck"))
    assert held is not None
    assert said.startswith(f"store: {restored}: {held[0]}, 3.0 MiB, all checked")
    assert "restoring" not in cli.fails("restore-store", target, "--to", str(tmp_path / "b/backup.json/r"), status=2)
    (tmp_path / "file").touch()
    where = tmp_path / "file/r"
    assert cli.fails("restore-store", target, "--to", str(where)) == f"cannot use the store {where}: Not a directory"
    assert cli.ok("session", "list", "--store", str(restored)) == cli.ok("session", "list")
    assert cli.fails("restore-store", target) == f"store already exists: {cli.path} (--force moves it aside)"
    aside = cli.json("restore-store", target, "--force")[0]["moved_aside"]
    assert cli.ok("session", "list", "--store", aside) == cli.ok("session", "list")


def test_a_place_that_cannot_be_is_refused(cli: Cli, q4: str, tmp_path: Path) -> None:
    assert cli.fails("backup", str(cli.path), status=2).endswith("it is the store itself")
    assert cli.fails("backup", str(cli.path / "b"), status=2).endswith("it is inside the store")
    (tmp_path / "work/x").touch()
    assert "it has 'x'" in cli.fails("backup", ".", status=2)
    assert cli.fails("restore-store", str(tmp_path / "none"), "--to", str(tmp_path / "r")).endswith(
        f"no backup at {tmp_path / 'none'}"
    )


def test_a_store_that_lacks_a_chunk_is_backed_up_with_a_word(cli: Cli, q4: str, tmp_path: Path) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "big", stdin=os.urandom(1 << 20))
    victim = next(path for path in (cli.path / "blobs").rglob("*") if path.is_file())
    aside = victim.rename(tmp_path / "aside")
    result = cli("backup", str(tmp_path / "b"))
    assert (result.exit_code, victim.name in result.stderr) == (1, True)
    aside.rename(victim)


def test_a_chunk_that_is_harmed_in_the_store_is_named_with_where_it_is_sound(cli: Cli, q4: str, tmp_path: Path) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "big", stdin=os.urandom(1 << 20))
    cli.ok("backup", str(tmp_path / "b"), "--no-hardlink")
    victim = next(path for path in (cli.path / "blobs").rglob("*") if path.is_file())
    whole = victim.read_bytes()
    os.truncate(victim, 100)
    result = cli("backup", str(tmp_path / "b"), "--no-hardlink")
    where = f"sound in the backup (blobs/{victim.parent.name})"
    assert f"chunk {victim.name} is harmed in the store itself, and {where}: see llmspellfs fsck" in result.stderr
    assert result.exit_code == 1
    victim.write_bytes(whole)


def test_of_a_harmed_backup_the_rest_is_restored_when_asked_for(cli: Cli, q4: str, tmp_path: Path) -> None:
    cli.ok("artifact", "put", "q4", "-", "--name", "big", stdin=os.urandom(1 << 20))
    target, restored = str(tmp_path / "b"), str(tmp_path / "r")
    cli.ok("backup", target, "--no-hardlink")
    victim = next(path for path in (tmp_path / "b/blobs").rglob("*") if path.is_file())
    victim.unlink()
    assert victim.name in cli.fails("restore-store", target, "--to", restored)
    result = cli("restore-store", target, "--to", restored, "--harmed")
    assert (result.exit_code, f"{victim.name} is harmed in the backup" in result.stderr) == (1, True)
    assert ", 1 harmed and left out" in result.stdout
    assert "q4:big" in cli("fsck", "--store", restored).stdout


@pytest.mark.mount
@needs_fuse
def test_a_mount_is_backed_up_while_files_are_written_through_it(mounted: Mounted, tmp_path: Path) -> None:
    session = mounted.session("s")
    ending = threading.Event()
    written: dict[str, bytes] = {}

    def write() -> None:
        for number in range(10_000):
            data = os.urandom(100_000)
            (session / f"f{number}").write_bytes(data)
            written[f"f{number}"] = data
            if ending.wait(0.005):
                return

    worker = threading.Thread(target=write)
    worker.start()
    try:
        for number in range(2):
            sure = dict(written)
            mounted.command("backup", str(tmp_path / "b"))
            with open_store(tmp_path / "b", config=Config()) as copy:
                assert copy.upkeep.fsck().problems == (), number
                for name, data in sure.items():
                    assert copy.artifacts.read(copy.artifacts.get("s", name)) == data
    finally:
        ending.set()
        worker.join()
    refused = mounted.command("backup", str(mounted.sessions / "s/b"), check=False)
    assert (refused.returncode, "inside the store's mount" in refused.stderr) == (2, True)
