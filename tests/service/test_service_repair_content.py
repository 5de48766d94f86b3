"""Content whose rows are gone, mixed up or wrong: what is there comes back, and nothing is served as another."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random

import pytest

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import Corrupt
from llmspellfs.service import mending
from llmspellfs.service.repair import repair
from tests.crash import damage as harm


class Ended(Exception):
    """A repair has ended early."""


CONTENTS = {
    "a": b"bytes of a",
    "b": b"bytes of b, others",
    "one": Random(1).randbytes(80_000),
    "two": Random(2).randbytes(80_000),
    "big": Random(3).randbytes(3 << 20),
    "huge": Random(4).randbytes(3 << 20),
    "empty": b"",
}
OF = "(SELECT content FROM entry WHERE name = '{}')"
A, B, ONE, TWO, BIG, HUGE, EMPTY = (OF.format(name) for name in CONTENTS)
KID = "(SELECT kid FROM content_chunk WHERE cid = {})"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store of small and large contents, an empty one too."""
    with open_store(tmp_path / "s", config=Config(), origin=harm.ORIGIN) as store:
        store.sessions.create("w")
        for name, content in CONTENTS.items():
            store.artifacts.put("w", name, content)
    return tmp_path / "s"


def readings(path: Path) -> dict[str, bytes | None]:
    """Return what is read of each artifact, None for an I/O error."""
    with open_store(path, config=Config(), create=False) as store:
        return {artifact.name: _read(store, artifact) for artifact in store.artifacts.list("w")}


def _read(store, artifact) -> bytes | None:  # type: ignore[no-untyped-def]
    try:
        return store.artifacts.read(artifact)  # type: ignore[no-any-return]
    except Corrupt:
        return None


def swap(table: str, column: str, one: str, other: str) -> tuple[str, ...]:
    """Return the statements that exchange what two rows of *table* have."""
    key = {"content": "cid", "chunk": "kid"}[table]
    kept = (
        f"CREATE TABLE kept AS SELECT {key} AS number, {column} AS value FROM {table} WHERE {key} IN ({one}, {other})"
    )
    return (
        kept,
        f"UPDATE {table} SET {column} = randomblob(32) WHERE {key} IN ({one}, {other})",
        f"UPDATE {table} SET {column} = (SELECT value FROM kept WHERE number != {key}) WHERE {key} IN ({one}, {other})",
        "DROP TABLE kept",
    )


MENDABLE = {
    "the chunks of a content are not listed": [f"DELETE FROM content_chunk WHERE cid = {ONE}"],
    "nor there": [
        f"DELETE FROM chunk WHERE kid = {KID.format(ONE)}", f"DELETE FROM content_chunk WHERE cid = {ONE}"
    ],
    "rows of chunks are gone": [f"DELETE FROM chunk WHERE kid IN ({KID.format(ONE)}, {KID.format(TWO)})"],
    "one of many is not listed": [f"DELETE FROM content_chunk WHERE cid = {BIG} AND start > 0"],
    "the first is not listed": [f"DELETE FROM content_chunk WHERE cid = {BIG} AND start = 0"],
    "a content has no size": [f"UPDATE content SET size = 0 WHERE cid = {ONE}"],
    "nor chunks": [
        f"UPDATE content SET size = 0 WHERE cid = {ONE}", f"DELETE FROM content_chunk WHERE cid = {ONE}"
    ],
    "another's chunk": [f"UPDATE content_chunk SET kid = {KID.format(TWO)} WHERE cid = {ONE}"],
    "another's chunk, its own without a row": [
        f"UPDATE content_chunk SET kid = -1 WHERE cid = {ONE}",
        f"DELETE FROM chunk WHERE hash = (SELECT hash FROM content WHERE cid = {ONE})",
        f"UPDATE content_chunk SET kid = {KID.format(TWO)} WHERE cid = {ONE}",
    ],
    "hashes swapped": swap("content", "hash", A, B),
    "hashes of large ones swapped": swap("content", "hash", ONE, BIG),
    "hashes of chunks swapped": swap("chunk", "hash", KID.format(ONE), KID.format(TWO)),
    "chunks of large ones swapped": [
        f"UPDATE content_chunk SET cid = -1 WHERE cid = {BIG}",
        f"UPDATE content_chunk SET cid = {BIG} WHERE cid = {HUGE}",
        f"UPDATE content_chunk SET cid = {HUGE} WHERE cid = -1",
    ],
    "hashes of all chunks rotated": [
        "CREATE TABLE kept AS SELECT kid, hash FROM chunk",
        "INSERT INTO kept SELECT max(kid) + 1, (SELECT hash FROM chunk ORDER BY kid) FROM chunk",
        "UPDATE chunk SET hash = randomblob(32)",
        "UPDATE chunk SET hash = (SELECT hash FROM kept k WHERE k.kid > chunk.kid ORDER BY k.kid)",
        "DROP TABLE kept",
    ],
    "names swapped": [
        "UPDATE entry SET name = 'x' WHERE name = 'a'",
        "UPDATE entry SET name = 'a' WHERE name = 'one'",
        "UPDATE entry SET name = 'one' WHERE name = 'x'",
    ],
    "bytes swapped": swap("content", "data", A, B),
    "a hash that is the chunk's of another": [
        f"UPDATE content SET hash = randomblob(32) WHERE cid = {ONE}",
        f"UPDATE content SET hash = (SELECT hash FROM chunk WHERE kid = {KID.format(ONE)}) WHERE cid = {A}",
    ],
    "a hash that is wrong": [f"UPDATE content SET hash = randomblob(32) WHERE cid = {A}"],
    "a row that names another's content": [f"UPDATE entry SET content = {B} WHERE name = 'a'"],
}  # fmt: skip
LOST = {
    "the bytes of another": ("a", [
        f"UPDATE content SET data = (SELECT data FROM content WHERE cid = {B}) WHERE cid = {A}",
    ]),
    "no bytes": ("a", [f"UPDATE content SET data = x'' WHERE cid = {A}"]),
    "no bytes and no size": ("a", [f"UPDATE content SET data = x'', size = 0 WHERE cid = {A}"]),
    "not even a row for them": ("a", [f"UPDATE content SET data = NULL, codec = NULL WHERE cid = {A}"]),
}  # fmt: skip


@pytest.mark.parametrize("what", MENDABLE)
def test_content_that_is_there_comes_back(path: Path, what: str) -> None:
    harm.sql(path, *MENDABLE[what])
    before = readings(path)
    assert harm.mended(path).ok
    assert readings(path) == CONTENTS
    assert {name: read for name, read in before.items() if read not in {None, CONTENTS[name]}}.keys() <= {
        "a",
        "b",
        "one",
        "big",
    }
    again = harm.mended(path)
    assert (again.done, again.problems, again.quarantine) == ((), (), None)


@pytest.mark.parametrize("what", LOST)
def test_content_that_is_lost_reads_as_an_error_before_and_after(path: Path, what: str) -> None:
    name, statements = LOST[what]
    harm.sql(path, *statements)
    assert readings(path) == CONTENTS | {name: None}
    report = harm.mended(path)
    assert report.harmed == (f"w:{name}",)
    assert readings(path) == CONTENTS | {name: None}
    again = harm.mended(path)
    assert (again.done, again.problems) == ((), report.problems)


@pytest.mark.parametrize("what", [*MENDABLE, *LOST])
def test_a_repair_that_ends_before_rows_are_mended_leaves_nothing_that_reads_wrongly(
    path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        raise Ended

    harm.sql(path, *(MENDABLE.get(what) or LOST[what][1]))
    before = readings(path)
    with monkeypatch.context() as patch:
        patch.setattr(mending.Mending, "run", ended)
        with pytest.raises(Ended):
            harm.mended(path)
    for name, read in readings(path).items():
        assert read in {None, CONTENTS[name], before[name]}, name
    assert harm.mended(path).ok == (what in MENDABLE)


@pytest.mark.parametrize("statement", [
    f"DELETE FROM content_chunk WHERE cid = {BIG}",
    f"DELETE FROM chunk WHERE kid IN (SELECT kid FROM content_chunk WHERE cid = {BIG})",
    f"UPDATE content SET data = x'', size = 0 WHERE cid = {A}",
])  # fmt: skip
def test_content_that_is_lost_whole_comes_back_from_a_backup(path: Path, tmp_path: Path, statement: str) -> None:
    with open_store(path, config=Config()) as store:
        store.upkeep.backup(tmp_path / "b", hardlink=False)
    harm.sql(path, statement)
    if "BIG" in statement or "chunk" in statement:
        harm.sql(path, "DELETE FROM chunk")
        for blob in harm.blobs(path):
            blob.unlink()
    assert repair(path, Config(), origin=harm.ORIGIN, backup=tmp_path / "b").ok
    assert readings(path) == CONTENTS


WRONG = {
    "a content without chunks and size": ("one", [
        f"UPDATE content SET size = 0 WHERE cid = {ONE}", f"DELETE FROM content_chunk WHERE cid = {ONE}",
    ]),
    "a content without some chunks": ("big", [f"DELETE FROM content_chunk WHERE cid = {BIG} AND start > 0"]),
    "a row that says less": ("big", ["UPDATE entry SET size = 1000 WHERE name = 'big'"]),
    "a row that says nothing": ("a", ["UPDATE entry SET size = 0 WHERE name = 'a'"]),
    "an empty one with bytes": ("a", [f"UPDATE content SET data = x'', size = 0 WHERE cid = {A}"]),
    "one that is empty for its row too": ("a", [
        f"UPDATE content SET data = x'', size = 0 WHERE cid = {A}", "UPDATE entry SET size = 0 WHERE name = 'a'",
    ]),
    "an empty one of another hash": ("empty", [f"UPDATE content SET hash = randomblob(32) WHERE cid = {EMPTY}"]),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_content_of_another_size_is_an_error_at_every_door(path: Path, tmp_path: Path, what: str) -> None:
    name, statements = WRONG[what]
    harm.sql(path, *statements)
    with open_store(path, config=Config()) as store:
        artifact = store.artifacts.get("w", name)
        for ask in ((0, None), (0, 5)):
            with pytest.raises(Corrupt):
                store.artifacts.read(artifact, *ask)
        with pytest.raises(Corrupt):
            store.archive.export(["w"], io.BytesIO())
        assert f"w:{name}" in store.upkeep.scrub().harmed
        assert store.upkeep.scrub().harmed == (f"w:{name}",)
        with store.engine.index.read() as db:
            digest = db.execute(f"SELECT lower(hex(hash)) FROM content WHERE cid = {OF.format(name)}").fetchone()[0]
        assert store.upkeep.backup(tmp_path / "b").lacking == (digest,)
        assert not store.upkeep.fsck().ok
    harm.mended(path)
    with open_store(path, config=Config()) as store:
        store.artifacts.put("w", name, CONTENTS[name])
        assert store.upkeep.scrub().harmed == ()
        assert store.upkeep.backup(tmp_path / "b").lacking == ()


def test_a_sound_store_has_no_content_of_another_size(path: Path, tmp_path: Path) -> None:
    with open_store(path, config=Config()) as store:
        assert store.upkeep.scrub().harmed == ()
        assert store.upkeep.backup(tmp_path / "b").lacking == ()
