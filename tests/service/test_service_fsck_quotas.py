"""What quotas have counted is held against what there is; a repair has it counted anew, and is refused by none."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import LimitExceeded
from llmspellfs.service.repair import repair
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.salvage import salvage
from tests.crash import damage as harm

QUOTAS = dataclasses.replace(Config(), storage_quota=200_000, session_quota=100_000)


def _filled(path: Path) -> Path:
    with open_store(path, config=QUOTAS) as store:
        store.sessions.create("one")
        store.artifacts.put("one", "a", os.urandom(30_000))
    return path


@pytest.mark.parametrize(
    "change",
    ["counted SET bytes = 1000000000", "counted SET bytes = -1000000000", "counted SET until = until + 9",
     "session_use SET bytes = 1000000000", "session_use SET bytes = -1000000000", "session_part SET part = part - 1"],
)  # fmt: skip
def test_what_quotas_count_is_found_and_counted_anew(tmp_path: Path, change: str) -> None:
    path = _filled(tmp_path / "s")
    harm.sql(path, f"UPDATE {change}")
    report = repair(path, QUOTAS, origin=harm.ORIGIN)
    assert {problem.kind for problem in report.found} == {"quota"}
    assert report.ok
    with open_store(path, config=QUOTAS) as store:
        store.artifacts.put("one", "b", os.urandom(60_000))
        with pytest.raises(LimitExceeded):
            store.artifacts.put("one", "c", os.urandom(60_000))
        assert store.upkeep.fsck().ok


def test_a_store_beyond_its_quota_is_repaired(tmp_path: Path) -> None:
    path, data = tmp_path / "s", os.urandom(30_000)
    with open_store(path, config=Config()) as store:
        session = store.sessions.create("one")
        store.artifacts.put("one", "a", data)
        store.artifacts.put("one", "b", os.urandom(50_000))
        store.intake.lose(data, Destination(session.id, "a"), "a copy")
    harm.sql(path, "DELETE FROM content WHERE size = 30000")
    report = repair(path, dataclasses.replace(Config(), storage_quota=1000, session_quota=1000), origin=harm.ORIGIN)
    assert report.ok
    with open_store(path, config=Config()) as store:
        assert _read(store, "a") == data


def _read(store: Store, name: str) -> bytes:
    return store.artifacts.read(store.artifacts.get("one", name))


def test_an_index_that_is_salvaged_has_nothing_counted(tmp_path: Path) -> None:
    path = _filled(tmp_path / "s")
    salvage(str(path / "index.db"), str(tmp_path / "new.db"), lambda *_: None)
    with closing(sqlite3.connect(tmp_path / "new.db")) as db:
        assert db.execute("SELECT count(*) FROM content").fetchone() == (1,)
        for table in ("counted", "session_use", "session_part"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
