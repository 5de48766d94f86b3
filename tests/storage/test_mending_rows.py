"""Rows that have each other's places change them together, or stay as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.storage import entries, mending_rows
from llmspellfs.storage.entries import NewEntry


@pytest.mark.parametrize("fits", [True, False])
def test_rows_exchange_their_places_all_or_none(tmp_path: Path, fits: bool) -> None:
    with open_store(tmp_path / "s", config=Config()) as store:
        store.sessions.create("s")
        for name in ("a", "b"):
            store.artifacts.put("s", name, name.encode())
        with store.engine.index.write() as db:
            found = db.execute(f"{entries.SELECT} WHERE e.kind = 0 ORDER BY e.eid").fetchall()
            one, two = map(entries.to_entry, found)
            other = replace(NewEntry.of(two), name=one.name)
            if not fits:
                other = replace(other, ino=None)  # type: ignore[arg-type]
            wanted = {one.eid: replace(NewEntry.of(one), name=two.name), two.eid: other}
            done = mending_rows.exchange(db, wanted)
            rows = db.execute("SELECT name, folder FROM entry WHERE kind = 0 ORDER BY eid").fetchall()
            assert done == ([one.eid, two.eid] if fits else [])
            names = ["b", "a"] if fits else ["a", "b"]
            assert rows == [(name, one.folder) for name in names]
            mending_rows.exchange(db, {one.eid: NewEntry.of(one), two.eid: NewEntry.of(two)} if fits else {})


@pytest.mark.parametrize("is_kept", [True, False])
def test_rows_of_which_each_has_the_next_ones_place_are_looked_at_once(tmp_path: Path, is_kept: bool) -> None:
    with open_store(tmp_path / "s", config=Config()) as store:
        store.sessions.create("s")
        for number in range(30):
            store.artifacts.put("s", f"n{number}", b"%d" % number)
        with store.engine.index.write() as db:
            *own, last = map(
                entries.to_entry, db.execute(f"{entries.SELECT} WHERE e.kind = 0 ORDER BY e.eid").fetchall()
            )
            names = [*(one.name for one in own[1:]), last.name if is_kept else "free"]
            wanted = {one.eid: replace(NewEntry.of(one), name=name) for one, name in zip(own, names, strict=True)}
            looks: list[str] = []
            db.set_trace_callback(lambda query: looks.append(query) if query.startswith("SELECT eid") else None)
            done = mending_rows.exchange(db, wanted)
            db.set_trace_callback(None)
            assert done == ([] if is_kept else list(wanted))
            assert len(looks) == len(wanted)
            mending_rows.exchange(db, {one.eid: NewEntry.of(one) for one in own})
