"""What an archive says, on its way in: kept aside in a database of its own until all of it is verified.

The database is a temporary file without a name, so that any number of records takes little memory, and nothing of them
is left whatever happens. Records come here one by one, each checked on its own; how they fit together is asked in SQL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from llmspellfs.errors import Corrupt
from llmspellfs.model.archive import CHECKPOINT, FILE, INODE, MAX_LEAD, MAX_SPAN, ROW, refuse
from llmspellfs.storage.archive_rows import Record
from llmspellfs.storage.erasing import FLEETING_NS

_MAX_DEPTH = 2048
"""Folders within folders: a path of Linux's has no more."""
_ENTRY = (*FILE, "target")
_SCHEMA = f"""
    CREATE TABLE event (s, seq, kind, at_ns, ends, line, state, sequence, PRIMARY KEY (s, seq)) WITHOUT ROWID;
    CREATE INDEX event_by_sequence ON event (s, sequence, kind) WHERE sequence IS NOT NULL;
    CREATE TABLE row (s, {", ".join(ROW)}, PRIMARY KEY (s, seq_from)) WITHOUT ROWID;
    CREATE TABLE inode (s, {", ".join(INODE)}, PRIMARY KEY (s, ino)) WITHOUT ROWID;
    CREATE TABLE entry (n INTEGER PRIMARY KEY, s, {", ".join(_ENTRY)});
    CREATE INDEX entry_by_ino ON entry (s, ino, seq_from);
    CREATE INDEX entry_by_place ON entry (s, folder, name, seq_from);
    CREATE INDEX entry_by_seq ON entry (s, seq_from);
    CREATE TABLE checkpoint (s, {", ".join(CHECKPOINT)}, PRIMARY KEY (s, number)) WITHOUT ROWID;
    CREATE TABLE content (hash PRIMARY KEY, size, live, cid) WITHOUT ROWID;
    CREATE TABLE made (cid INTEGER PRIMARY KEY);
"""
_APART = """
    SELECT name FROM (SELECT name, seq_to, lead(seq_from) OVER (PARTITION BY {by} ORDER BY seq_from, n) AS following
        FROM entry WHERE s = :s AND {which})
    WHERE following IS NOT NULL AND (seq_to IS NULL OR seq_to > following)
"""
_PROBLEMS = (
    ("two rows of {0!r} hold at once", _APART.format(by="folder, name", which="1")),
    ("two rows of the inode of {0!r} hold at once", _APART.format(by="ino", which="1")),
    ("two rows of the sequence of {0!r} hold at once", _APART.format(by="sequence", which="kind = 0")),
    ("the row of {0!r} is not within the session's events",
     "SELECT name FROM entry WHERE s = :s AND (seq_to <= seq_from OR max(seq_from, coalesce(seq_to, 0)) > :last)"),
    ("the inode of {0!r} is the session's, or of two kinds",
     ("SELECT name FROM entry WHERE s = :s AND ino = :top"
     " UNION ALL SELECT name FROM entry WHERE s = :s GROUP BY ino HAVING min(kind) <> max(kind)")),
    ("the inode of {0!r} has no attributes",
     "SELECT name FROM entry e WHERE s = :s AND NOT EXISTS (SELECT 1 FROM inode i WHERE i.s = :s AND i.ino = e.ino)"),
    ("inode {0} has attributes and no row",
     ("SELECT ino FROM inode i WHERE s = :s AND ino <> :top"
     " AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.s = :s AND e.ino = i.ino)")),
    ("{0!r} is in no folder",
     ("SELECT name FROM entry e WHERE s = :s AND folder <> :top"
     " AND NOT EXISTS (SELECT 1 FROM entry f WHERE f.s = :s AND f.ino = e.folder AND f.kind = 1)")),
    ("{0!r} is in a folder that is gone",
     ("SELECT name FROM entry e WHERE s = :s AND folder <> :top AND seq_to IS NULL AND NOT EXISTS"
     " (SELECT 1 FROM entry f WHERE f.s = :s AND f.ino = e.folder AND f.kind = 1 AND f.seq_to IS NULL)")),
    ("two sizes of the content {0}",
     "SELECT hash FROM entry WHERE s = :s AND kind = 0 GROUP BY hash HAVING min(size) <> max(size)"),
    ("{0!r} has a sequence that is yet to come",
     "SELECT name FROM entry WHERE s = :s AND sequence >= :next"),
    ("{0!r} has a version beyond what events can count",
     "SELECT name FROM entry WHERE s = :s AND version - seq_from > :lead"),
    ("the next sequence, {0}, is beyond what events can count", "SELECT :next WHERE :next - :last > :lead"),
    ("checkpoint {0} has a number beyond its event's",
     "SELECT number FROM checkpoint WHERE s = :s AND number > seq"),
    ("the row of seq {0} is not followed by the next",
     ("SELECT seq_from FROM (SELECT seq_from, seq_to, lead(seq_from) OVER (ORDER BY seq_from) AS following FROM row"
     " WHERE s = :s) WHERE seq_to <= seq_from OR max(seq_from, coalesce(seq_to, 0)) > :last"
     " OR (following IS NOT NULL AND (seq_to IS NULL OR seq_to > following))")),
    ("checkpoint {0} is of no save",
     ("SELECT number FROM checkpoint c WHERE s = :s AND NOT EXISTS"
     " (SELECT 1 FROM event v WHERE v.s = :s AND v.seq = c.seq AND v.kind = 'session.saved')")),
    ("checkpoint {0} is not the one that its save made",
     ("SELECT number FROM (SELECT number, row_number() OVER (ORDER BY c.seq) AS nth FROM checkpoint c WHERE s = :s)"
      " WHERE number <> nth")),
)  # fmt: skip
"""What may be wrong with the records of session `s` together; `next` is its next sequence."""
_UNCOVERED = f"""
    SELECT seq FROM event v WHERE s = :s AND seq > :horizon AND state IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM row r WHERE r.s = :s AND r.seq_from = v.seq)
    AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.s = :s AND e.seq_from = v.seq)
    AND NOT EXISTS (SELECT 1 FROM event p WHERE p.s = :s AND p.sequence = v.sequence AND p.kind = 'artifact.purged')
    AND NOT EXISTS (SELECT 1 FROM event d WHERE d.s = :s AND d.sequence = v.sequence AND d.kind = 'artifact.deleted'
                    AND d.seq > v.seq AND d.at_ns - v.at_ns < {FLEETING_NS})
"""  # noqa: S608


_ENTRY_ROWS = """
    SELECT e.n + :after, :sid, e.folder + :shift, e.name, e.ino + :shift, e.kind, e.seq_from, e.seq_to, e.target,
        e.sequence, e.version, c.cid, e.size, e.type, e.mime_type, e.description, e.tags, e.custom, e.created_ns,
        e.updated_ns
    FROM entry e LEFT JOIN content c ON c.hash = e.hash WHERE e.s = :s ORDER BY e.n
"""
_BATCH = 500


class Staging:
    """The records of one archive; sessions are numbered as they come."""

    def __init__(self) -> None:
        """Begin with none."""
        self._db = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", "cache_size = -16000"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def add(self, table: str, s: int, record: Record, where: str) -> None:
        """Keep the *record* of session *s* in *table*; raise Corrupt where one of that key is there already."""
        names = ", ".join(record)
        marks = ", ".join("?" * (len(record) + 1))
        try:
            self._db.execute(f"INSERT INTO {table} (s, {names}) VALUES ({marks})", (s, *record.values()))  # noqa: S608
        except sqlite3.IntegrityError:
            raise refuse(where, "two records of one thing") from None
        except sqlite3.Error as error:
            raise Corrupt(f"archive: {where}: {error}") from None

    def event_state(self, s: int, seq: int) -> str | None:
        """Return the hash with which the event *seq* of session *s* covers the row that it made, or None."""
        row = self._db.execute("SELECT state FROM event WHERE s = ? AND seq = ?", (s, seq)).fetchone()
        return None if row is None else row[0]

    def check(self, s: int, facts: Record, where: str, *, history: bool) -> None:
        """Raise Corrupt where the records of session *s*, with these *facts*, do not fit together."""
        last = facts["seq"] if history else 1 << 62
        values = {"s": s, "top": facts["ino"], "last": last, "next": facts["next_sequence"], "lead": MAX_LEAD}
        for why, query in _PROBLEMS:
            row = self._db.execute(query, values).fetchone()
            if row is not None:
                raise refuse(where, why.format(*row))
        if history:
            row = self._db.execute(_UNCOVERED, {"s": s, "horizon": facts["horizon_seq"]}).fetchone()
            if row is not None:
                raise refuse(where, f"the row that event {row[0]} made is not there")
        if self._db.execute("SELECT count(*) FROM row WHERE s = ? AND seq_to IS NULL", (s,)).fetchone() != (1,):
            raise refuse(where, "the session has no row of its own that holds now")
        if self._db.execute("SELECT 1 FROM inode WHERE s = ? AND ino = ?", (s, facts["ino"])).fetchone() is None:
            raise refuse(where, "the session's folder has no attributes")
        first, end = self.span(s)
        if end - first > MAX_SPAN:
            raise refuse(where, "inode numbers too far apart")
        self._check_folders(s, facts["ino"], where)

    def _check_folders(self, s: int, top: int, where: str) -> None:
        """See that folders are in one another as a tree, those that are there, and all by where they last were."""
        for which in ("1", "seq_to IS NULL"):
            query = f"SELECT ino, folder FROM entry WHERE s = ? AND kind = 1 AND {which} ORDER BY n"  # noqa: S608
            above: dict[int, int] = dict(self._db.execute(query, (s,)))
            depths = {top: 0}
            for ino in above:
                _measure(ino, above, depths, where)

    def note_contents(self) -> tuple[int, int]:
        """Note which contents the rows of all sessions have; return how many there are and their bytes."""
        query = "SELECT hash, size, max(seq_to IS NULL), NULL FROM entry WHERE kind = 0 GROUP BY hash"
        self._db.execute(f"INSERT INTO content {query}")
        found: tuple[int, int] = self._db.execute("SELECT count(*), coalesce(sum(size), 0) FROM content").fetchone()
        return found

    def content(self, digest: str) -> tuple[int, bool] | None:
        """Return what rows say of the content *digest* (hex): its size, and whether a live one has it; or None."""
        row = self._db.execute("SELECT size, live FROM content WHERE hash = ?", (digest,)).fetchone()
        return None if row is None else (row[0], bool(row[1]))

    def wanted(self, *, live_only: bool) -> Iterator[list[tuple[str, int | None]]]:
        """Yield the hash (hex) and, where it was noted, the cid of each content, of live rows only or of all."""
        query, last = "SELECT hash, cid FROM content WHERE hash > ? AND live >= ? ORDER BY hash LIMIT ?", ""
        while batch := self._db.execute(query, (last, live_only, _BATCH)).fetchall():
            yield batch
            last = batch[-1][0]

    def note_cids(self, cids: dict[str, int]) -> None:
        """Remember which number contents have here, by their hashes (hex)."""
        self._db.executemany(
            "UPDATE content SET cid = ? WHERE hash = ?", [(cid, digest) for digest, cid in cids.items()]
        )

    def cid(self, digest: str) -> int:
        """Return the number that was noted for the content *digest* (hex)."""
        found: int = self._db.execute("SELECT cid FROM content WHERE hash = ?", (digest,)).fetchone()[0]
        return found

    def note_made(self, cids: list[int]) -> None:
        """Remember that the store has the contents *cids* from here."""
        self._db.executemany("INSERT OR IGNORE INTO made VALUES (?)", [(cid,) for cid in cids])

    def made(self) -> list[int]:
        """Return what was noted."""
        return [row[0] for row in self._db.execute("SELECT cid FROM made")]

    def span(self, s: int) -> tuple[int, int]:
        """Return the lowest and the highest inode number of session *s*."""
        found: tuple[int, int] = self._db.execute("SELECT min(ino), max(ino) FROM inode WHERE s = ?", (s,)).fetchone()
        return found

    def spans(self) -> int:
        """Return how many inode numbers all sessions' spans have together."""
        query = "SELECT coalesce(sum(span), 0) FROM (SELECT max(ino) - min(ino) + 1 AS span FROM inode GROUP BY s)"
        found: int = self._db.execute(query).fetchone()[0]
        return found

    def live(self, s: int) -> tuple[int, int, int]:
        """Return how many rows, live files, and bytes of live files session *s* has."""
        query = "SELECT count(*), coalesce(sum(kind = 0), 0), coalesce(sum(size), 0) FROM entry WHERE s = ?"
        count = self._db.execute("SELECT count(*) FROM entry WHERE s = ?", (s,)).fetchone()[0]
        _, files, size = self._db.execute(f"{query} AND seq_to IS NULL", (s,)).fetchone()
        return count, files, size

    def rows(self, s: int) -> Iterator[Record]:
        """Yield the records of the session's own fields, oldest first."""
        query = f"SELECT {', '.join(ROW)} FROM row WHERE s = ? ORDER BY seq_from"  # noqa: S608
        for values in self._db.execute(query, (s,)):
            yield dict(zip(ROW, values, strict=True))

    def events(self, s: int, sid: int) -> Iterator[tuple[Any, ...]]:
        """Yield the events of session *s* as rows of session *sid*, in the columns' order."""
        query = "SELECT ?, seq, kind, at_ns, ends, line FROM event WHERE s = ? ORDER BY seq"
        return self._db.execute(query, (sid, s))

    def checkpoints(self, s: int) -> Iterator[tuple[int, int, str | None, int]]:
        """Yield the checkpoints of session *s*: number, seq, label, and its time, which is that of its event."""
        query = """
            SELECT c.number, c.seq, c.label, CASE c.at_ns / 1000 WHEN v.at_ns / 1000 THEN c.at_ns ELSE v.at_ns END
            FROM checkpoint c JOIN event v ON v.s = c.s AND v.seq = c.seq WHERE c.s = ? ORDER BY c.number
        """
        yield from self._db.execute(query, (s,))

    def inodes(self, s: int) -> Iterator[tuple[Any, ...]]:
        """Yield the attributes of session *s*'s inodes, as INODE has their columns."""
        yield from self._db.execute(f"SELECT {', '.join(INODE)} FROM inode WHERE s = ? ORDER BY ino", (s,))  # noqa: S608

    def live_entries(self, s: int) -> Iterator[Record]:
        """Yield the live entries of session *s* by kind, files last and by sequence."""
        which = "seq_to IS NULL ORDER BY kind = 0, sequence, n"
        for values in self._db.execute(f"SELECT {', '.join(_ENTRY)} FROM entry WHERE s = ? AND {which}", (s,)):  # noqa: S608
            yield dict(zip(_ENTRY, values, strict=True))

    def entry_rows(self, s: int, sid: int, shift: int, after: int) -> Iterator[tuple[Any, ...]]:
        """Yield the entries of session *s* in their order as rows of session *sid*, in the columns' order.

        Their numbers are beyond *after*, their inodes *shift* away; contents have the numbers that were noted.
        """
        values = {"s": s, "sid": sid, "shift": shift, "after": after}
        return self._db.execute(_ENTRY_ROWS, values)

    def labelled(self, s: int, after: int) -> Iterator[tuple[int, str, str]]:
        """Yield the number, the tags and the custom metadata of each live file of session *s* that has any."""
        which = "kind = 0 AND seq_to IS NULL AND (tags <> '[]' OR custom <> '{}')"
        return self._db.execute(f"SELECT n + ?, tags, custom FROM entry WHERE s = ? AND {which}", (after, s))  # noqa: S608


def _measure(ino: int, above: dict[int, int], depths: dict[int, int], where: str) -> None:
    """Note how deep the folder *ino*, and each *above* it, is; raise Corrupt where they never reach the top."""
    way: list[int] = []
    while ino not in depths:
        if ino not in above or len(way) > _MAX_DEPTH:
            raise refuse(where, "folders that are in one another, or too deep")
        way.append(ino)
        ino = above[ino]
    for depth, each in enumerate(reversed(way), depths[ino] + 1):
        if depth > _MAX_DEPTH:
            raise refuse(where, f"folders more than {_MAX_DEPTH} deep")
        depths[each] = depth
