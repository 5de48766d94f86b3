"""Rates of what scripts do with artifacts of 1 KiB, beside the floor that SQLite sets, measured in one run.

`python tests/bench/lua_rates.py [--count N] [--path DIR]`: microseconds of CPU and of wall time for each artifact, and
how many times the floor that is. The floor is SQLite's `executemany` of the very rows that a batch leaves, into tables
with the same indexes, in one transaction. Machines drift, so only the ratios of one run say something. Not run by
pytest.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.lua.runtime import Script

if TYPE_CHECKING:
    from collections.abc import Callable

_TABLES = ("inode", "content", "entry", "event")
_FILL = """
    batch, single = Session.create({name = "batch"}), Session.create({name = "single"})
    local random = io.open("/dev/urandom", "rb")
    function fill()
        local items = {}
        for n = 1, COUNT do
            items[n] = {type = "tool_result", name = ("results/%06d.json"):format(n), content = random:read(1024)}
        end
        return items
    end
    many, few = fill(), fill()
    Artifact.storeMany(batch, {{name = "first", content = "1"}})
    Artifact.store(single, "user_input", "first", "1")
"""
_WORK = {
    "Artifact.storeMany": "Artifact.storeMany(batch, many)",
    "Artifact.store": "for _, i in ipairs(few) do Artifact.store(single, i.type, i.name, i.content) end",
    "Artifact.get by name": "for n = 1, COUNT do Artifact.get(single, few[n].name) end",
    "Artifact.exists": "for n = 1, COUNT do Artifact.exists(single, few[n].name) end",
    "Artifact.list": "assert(#Artifact.list(single) == COUNT + 1)",
    "Artifact.query, pages of 20": "for n = 0, COUNT - 1, 20 do Artifact.query({type = 'tool_result', limit = 20}) end",
    "the batch again, unchanged": "Artifact.storeMany(batch, many)",
}


def measure(folder: Path, count: int) -> dict[str, tuple[float, float]]:
    """Return the CPU and the wall time of each work, in microseconds for each of *count* artifacts, the floor first."""
    results: dict[str, tuple[float, float]] = {}
    with open_store(folder / "store", config=Config()) as store:
        script = Script(store)
        script.run_code(f"COUNT = {count} {_FILL}")
        for name, code in _WORK.items():
            results[name] = _timed(partial(script.run_code, code), count)
            if name == "Artifact.storeMany":
                rows = _rows(store)
        fork = _timed(lambda: store.past.fork("batch", "forked"), count)
        assert store.upkeep.fsck().ok
    floor = _timed(_floor(folder / "floor", rows), count)
    run = _timed(_runs(folder / "runs"), 20)
    return {"floor: SQLite's executemany": floor, **results, "a fork": fork, "one run that stores, a run": run}


def _timed(work: Callable[[], object], count: int) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return (time.process_time() - cpu) / count * 1e6, (time.perf_counter() - wall) / count * 1e6


def _rows(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    with store.engine.index.read() as db:
        return {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in _TABLES}


def _floor(path: Path, rows: dict[str, list[tuple[Any, ...]]]) -> Callable[[], None]:
    """Return what inserts *rows* into the empty tables of a new store at *path*."""
    open_store(path, config=Config()).close()
    connection = sqlite3.connect(path / "index.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")

    def insert() -> None:
        with closing(connection):
            connection.execute("BEGIN IMMEDIATE")
            for table, values in rows.items():
                marks = ",".join("?" * len(values[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
            connection.execute("COMMIT")

    return insert


def _runs(path: Path) -> Callable[[], None]:
    """Return what runs a small script twenty times, each time in a new runtime."""

    def work() -> None:
        with open_store(path, config=Config()) as store:
            for _ in range(20):
                Script(store).run_code("Artifact.store(Session.create({}), 'user_input', 'a.txt', 'a')")

    return work


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--path", type=Path, help="where the stores are made; by default among temporary files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.path) as folder:
        results = measure(Path(folder), options.count)
    least = next(iter(results.values()))[0]
    print(f"{'for each artifact':32}{'CPU us':>10}{'wall us':>10}{'/s, CPU':>10}{'x floor':>9}")
    for name, (cpu, wall) in results.items():
        print(f"{name:32}{cpu:10.1f}{wall:10.1f}{1e6 / cpu:10,.0f}{cpu / least:9.2f}")


if __name__ == "__main__":
    main()
