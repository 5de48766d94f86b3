"""Audit chains: what was altered, dropped or moved is named; a cut or rewritten chain by the heads kept elsewhere."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import InvalidValue
from llmspellfs.model.anchors import Anchors, parse_anchors
from llmspellfs.model.event import FIRST_PREV

NOTHING = ()


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Anchors]:
    """A store with a session s of six events, t of two, and the anchors of then."""
    with open_store(tmp_path / "made", config=Config()) as store:
        store.sessions.create("s")
        for number in range(5):
            store.artifacts.put("s", f"n{number}", str(number).encode())
        store.sessions.create("t")
        store.artifacts.put("t", "x", b"x")
        return tmp_path / "made", store.upkeep.anchors()


def alter(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path / "index.db")) as db, db:
        for statement in statements:
            db.execute(statement)


def problems(path: Path, against: Anchors | None = None, ref: str | None = None) -> list[str | None]:
    with open_store(path, config=Config()) as store:
        return [report.problem for report in store.upkeep.verify(ref, against=against)]


def rewrite(path: Path, keep: int, *, changed: int | None = None) -> None:
    """Rewrite the chain of s as somebody would who knows how: *keep* events, one *changed*, all hashes right."""
    with closing(sqlite3.connect(path / "index.db")) as db, db:
        rows = db.execute("SELECT seq, line FROM event WHERE sid = 1 ORDER BY seq").fetchall()
        db.execute("DELETE FROM event WHERE sid = 1 AND seq > ?", (keep,))
        prev, ends = FIRST_PREV, 0
        for seq, line in rows[:keep]:
            fields = json.loads(line)
            actor = "nobody" if seq == changed else fields["actor"]
            text = json.dumps({**fields, "actor": actor, "prev": prev}, ensure_ascii=False, separators=(",", ":"))
            prev, ends = blake3(text.encode()).hexdigest(), ends + len(text.encode()) + 1
            db.execute("UPDATE event SET line = ?, ends = ? WHERE sid = 1 AND seq = ?", (text, ends, seq))
        db.execute("UPDATE session SET head = ?, seq = ?, trail_size = ? WHERE sid = 1", (prev, keep, ends))


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE event SET line = replace(line, 'uid:', 'UID:') WHERE sid = 1 AND seq = 3", "event 4: does not follow"),
        ("UPDATE event SET line = 'x' WHERE sid = 1 AND seq = 3", "event 3: altered; not an event line"),
        ("UPDATE event SET line = CAST(x'7bff7d' AS TEXT) WHERE sid = 1 AND seq = 3", "event 3: altered"),
        ("UPDATE event SET at_ns = 'late' WHERE sid = 1 AND seq = 3", "event 3: altered; the index disagrees"),
        (
            "UPDATE event SET line = replace(line, 'uid:', 'UID:') WHERE sid = 1 AND seq = 6",
            "event 6: altered; its hash",
        ),
        ("DELETE FROM event WHERE sid = 1 AND seq = 3", "event 3: missing or out of order; found 4"),
        ("DELETE FROM event WHERE sid = 1 AND seq = 6", "event 6: missing; the session counts 6"),
        ("UPDATE event SET seq = 9 - seq WHERE sid = 1 AND seq IN (4, 5)", None),
    ],
)
def test_the_first_event_that_does_not_fit_is_named(
    made: tuple[Path, Anchors], statement: str, says: str | None
) -> None:
    if says is None:
        swap = "UPDATE event SET seq = -seq WHERE sid = 1 AND seq IN (4, 5)"
        alter(made[0], swap, "UPDATE event SET seq = 9 + seq WHERE sid = 1 AND seq < 0")
        says = "event 4: missing or out of order; found 5"
    else:
        alter(made[0], statement)
    found = problems(made[0])
    assert (found[0] or "").startswith(says)
    assert found[1] is None
    assert problems(made[0], ref="t") == [None]


def test_what_was_added_since_fits_the_anchors(made: tuple[Path, Anchors]) -> None:
    path, anchors = made
    with open_store(path, config=Config()) as store:
        store.artifacts.put("s", "later", b"later")
        store.sessions.create("u")
        store.sessions.purge("t")
    assert problems(path, anchors) == [None, None, None]
    assert problems(path, anchors, "s") == [None]


@pytest.mark.parametrize(
    ("keep", "changed", "says"),
    [
        (4, None, "event 5: missing; the anchor counts 6"),
        (6, 2, "event 6: not the one that the anchor names"),
        (6, 6, "event 6: not the one that the anchor names"),
    ],
)
def test_a_cut_or_rewritten_chain_fits_itself_and_not_the_anchors(
    made: tuple[Path, Anchors], keep: int, changed: int | None, says: str
) -> None:
    path, anchors = made
    rewrite(path, keep, changed=changed)
    assert problems(path) == [None, None]
    found = problems(path, anchors)
    assert (found[0] or "").startswith(says)
    assert found[1:] == [None]
    assert problems(path, anchors, "t") == [None]


def test_a_session_that_vanished_is_found_by_the_anchors(made: tuple[Path, Anchors]) -> None:
    path, anchors = made
    alter(path, *(f"DELETE FROM {table} WHERE sid = 2" for table in ("event", "entry", "session_row", "session")))
    assert problems(path) == [None]
    with open_store(path, config=Config()) as store:
        report = store.upkeep.verify(against=anchors)[-1]
    assert report.session_id == anchors.heads[1].session_id
    assert report.problem == "event 1: missing; the anchor counts 2, and there is no such session"


def test_anchors_of_another_store_are_refused(made: tuple[Path, Anchors], store: Store) -> None:
    store.sessions.create("s")
    with pytest.raises(InvalidValue, match="of the store"):
        store.upkeep.verify(against=made[1])


def test_anchors_are_the_same_until_a_trail_grows(store: Store, clock: list[int]) -> None:
    for name in "sab":
        store.sessions.create(name)
    first = list(store.upkeep.anchors().lines())
    clock[0] += 10**9
    assert list(store.upkeep.anchors().lines())[1:] == first[1:]
    store.artifacts.put("a", "x", b"x")
    second = list(store.upkeep.anchors().lines())
    assert [line for line in second[1:] if line not in first] == [second[2]]
    assert parse_anchors(second, "x").heads[1].seq == 2
    anchors = store.upkeep.anchors()
    assert store.upkeep.verify(against=anchors)[1].problem is None
    wrong = replace(anchors, heads=(replace(anchors.heads[0], head="0" * 64), *anchors.heads[1:]))
    assert [report.problem is None for report in store.upkeep.verify(against=wrong)] == [False, True, True]


LOOP = """
set -e
prev=$(printf %064d 0)
while IFS= read -r line; do
    [ "$(printf %s "$line" | sed 's/.*"prev":"\\([0-9a-f]*\\)"}$/\\1/')" = "$prev" ] || { echo broken; exit; }
    prev=$(printf %s "$line" | b3sum --no-names)
done
echo "$prev"
"""


@pytest.mark.skipif(shutil.which("b3sum") is None, reason="b3sum IS MISSING: the loop is not tried")
def test_b3sum_and_a_shell_loop_verify_a_chain(made: tuple[Path, Anchors]) -> None:
    path, anchors = made
    with open_store(path, config=Config()) as store:
        sid = store.sessions.get("s").sid
        trail = store.sessions.trail_bytes(sid, 0, store.sessions.trail_size(sid))

    def loop(lines: bytes) -> str:
        return (
            subprocess.run(["bash", "-c", LOOP], input=lines, capture_output=True, check=True).stdout.decode().strip()
        )

    assert loop(trail) == anchors.heads[0].head
    assert loop(trail.replace(b'"seq":3', b'"seq":4')) == "broken"
