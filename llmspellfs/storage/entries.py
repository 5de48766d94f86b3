"""The SQL of the tree: entries, their validity, their inodes and labels.

Every function takes a connection and runs in the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmspellfs.errors import Corrupt
from llmspellfs.model.artifact import Attributes, Dirent, Entry, FileFacts, Kind
from llmspellfs.model.climb import climb
from llmspellfs.model.query import labels
from llmspellfs.model.values import canonical
from llmspellfs.storage.index import Connection
from llmspellfs.storage.schema import SUPERSEDED

COLUMNS = """
    e.eid, e.sid, e.folder, e.name, e.ino, e.kind, e.seq_from, e.seq_to,
    i.mode, i.uid, i.gid, i.mtime_ns, i.ctime_ns, i.atime_ns, e.target,
    e.sequence, e.version, e.content, c.hash, e.size, c.stored_size, e.type, e.mime_type, e.description,
    e.tags, e.custom, e.created_ns, e.updated_ns
"""
JOINED = "FROM entry e LEFT JOIN inode i ON i.ino = e.ino LEFT JOIN content c ON c.cid = e.content"
SELECT = f"SELECT {COLUMNS} {JOINED}"
"""Rows of `entry`, as `to_entry` takes them."""

_LOOKUP = f"{SELECT} WHERE e.folder = ? AND e.name = ? AND e.seq_to IS NULL"
_COUNT = "SELECT count(*) FROM entry s INDEXED BY entry_subfolders WHERE s.kind = 1 AND s.seq_to IS NULL AND s.folder ="
_SUBFOLDERS = f"CASE e.kind WHEN 1 THEN ({_COUNT} e.ino) ELSE 0 END"
_LOOKUP_COUNTED = f"SELECT {COLUMNS}, {_SUBFOLDERS} {JOINED} WHERE e.folder = ? AND e.name = ? AND e.seq_to IS NULL"
_BY_EID = f"{SELECT} WHERE e.eid = ?"
_LIVE_OF_SEQUENCE = f"{SELECT} WHERE e.kind = 0 AND e.sid = ? AND e.sequence = ? AND e.seq_to IS NULL"
_ALL_OF_SEQUENCE = f"{SELECT} WHERE e.kind = 0 AND e.sid = ? AND e.sequence = ? ORDER BY e.eid"
_FILES = f"{SELECT} WHERE e.kind = 0 AND e.sid = ? AND e.seq_to IS NULL ORDER BY e.sequence LIMIT ? OFFSET ?"
_CHILDREN = f"{SELECT} WHERE e.folder = ? AND e.seq_to IS NULL"
_DRAFTS = f"{SELECT} WHERE e.seq_from IS NULL"
_ENDED = f"{SELECT} WHERE e.sid = ? AND e.seq_to BETWEEN ? AND ? AND e.seq_to < {SUPERSEDED} ORDER BY e.seq_to DESC"
_DIRENTS = f"""
    SELECT e.name, e.ino, e.kind, i.mode, i.uid, i.gid, i.mtime_ns, i.ctime_ns, i.atime_ns,
           coalesce(e.size, length(CAST(e.target AS BLOB)), 0), coalesce(c.stored_size, 0),
           {_SUBFOLDERS}
    FROM entry e JOIN inode i ON i.ino = e.ino LEFT JOIN content c ON c.cid = e.content
    WHERE e.folder = ? AND e.seq_to IS NULL
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class NewEntry:
    """What a new row of `entry` holds; file columns are None for folders and symlinks."""

    sid: int
    folder: int
    name: str
    ino: int
    kind: Kind
    target: str | None = None
    sequence: int | None = None
    version: int | None = None
    content: int | None = None
    content_hash: str | None = None
    size: int | None = None
    artifact_type: str | None = None
    mime_type: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    custom: dict[str, Any] | None = None
    created_ns: int | None = None
    updated_ns: int | None = None

    @property
    def state(self) -> dict[str, Any]:
        """The row as its event's `state` covers it."""
        state: dict[str, Any] = {
            "folder": self.folder,
            "name": self.name,
            "ino": self.ino,
            "kind": int(self.kind),
        }
        if self.kind is Kind.SYMLINK:
            state["target"] = self.target
        if self.kind is Kind.FILE:
            state |= {
                "sequence": self.sequence, "version": self.version, "hash": self.content_hash, "size": self.size,
                "type": self.artifact_type, "mime_type": self.mime_type, "description": self.description,
                "tags": list(self.tags), "custom": self.custom or {},
                "created_ns": self.created_ns, "updated_ns": self.updated_ns,
            }  # fmt: skip
        return state

    def as_entry(self, eid: int, seq_from: int | None, attributes: Attributes, stored_size: int) -> Entry:
        """Return the live row *eid* that this, a file, has become."""
        facts = FileFacts(
            self.sequence or 0, self.version or 0, self.content or 0, self.content_hash or "", self.size or 0,
            stored_size, self.artifact_type or "", self.mime_type or "", self.description or "", self.tags,
            self.custom or {}, self.created_ns or 0, self.updated_ns or 0,
        )  # fmt: skip
        return Entry(eid, self.sid, self.folder, self.name, self.ino, self.kind, seq_from, None, attributes, facts)

    @staticmethod
    def of(entry: Entry) -> NewEntry:
        """Return what a row like *entry*'s holds."""
        common = (entry.sid, entry.folder, entry.name, entry.ino, entry.kind, entry.target)
        if entry.file is None:
            return NewEntry(*common)
        f = entry.file
        return NewEntry(
            *common, f.sequence, f.version, f.content, f.content_hash, f.size, f.artifact_type, f.mime_type,
            f.description, f.tags, f.custom, f.created_ns, f.updated_ns,
        )  # fmt: skip


def lookup(db: Connection, folder: int, name: str) -> Entry | None:
    """Return the live entry *name* in *folder* (an ino), or None."""
    row = db.execute(_LOOKUP, (folder, name)).fetchone()
    return None if row is None else to_entry(row)


def lookup_counted(db: Connection, folder: int, name: str) -> Entry | None:
    """Return what `lookup` does, and for a folder also how many folders are in it."""
    row = db.execute(_LOOKUP_COUNTED, (folder, name)).fetchone()
    return None if row is None else to_entry(row[:-1], row[-1])


def subfolders(db: Connection, folder: int) -> int:
    """Return how many live folders are in *folder* (an ino)."""
    count: int = db.execute(f"{_COUNT} ?", (folder,)).fetchone()[0]
    return count


def load(db: Connection, eid: int) -> Entry | None:
    """Return the entry row *eid*, live or not, or None."""
    row = db.execute(_BY_EID, (eid,)).fetchone()
    return None if row is None else to_entry(row)


def load_many(db: Connection, eids: Sequence[int]) -> list[Entry]:
    """Return the rows *eids* in that order, without those that are gone."""
    found: dict[int, Entry] = {}
    for start in range(0, len(eids), 500):
        part = eids[start : start + 500]
        marks = ",".join("?" * len(part))
        found |= {row[0]: to_entry(row) for row in db.execute(f"{SELECT} WHERE e.eid IN ({marks})", part)}
    return [found[eid] for eid in eids if eid in found]


def live_of_sequence(db: Connection, sid: int, sequence: int) -> Entry | None:
    """Return the live row of the artifact *sequence*, or None where it is deleted or never was."""
    row = db.execute(_LIVE_OF_SEQUENCE, (sid, sequence)).fetchone()
    return None if row is None else to_entry(row)


def live_of_ino(db: Connection, ino: int) -> Entry | None:
    """Return the live file with the inode *ino*, or None; it looks at every row, so it is for exceptions."""
    row = db.execute(f"{SELECT} WHERE e.kind = 0 AND e.ino = ? AND e.seq_to IS NULL", (ino,)).fetchone()
    return None if row is None else to_entry(row)


def rows_of_sequence(db: Connection, sid: int, sequence: int) -> list[Entry]:
    """Return all retained rows of the artifact *sequence*, oldest first."""
    return [to_entry(row) for row in db.execute(_ALL_OF_SEQUENCE, (sid, sequence))]


def has_sequence(db: Connection, sid: int, sequence: int) -> bool:
    """Tell whether any row of the artifact *sequence* is retained."""
    query = "SELECT 1 FROM entry WHERE kind = 0 AND sid = ? AND sequence = ? LIMIT 1"
    return db.execute(query, (sid, sequence)).fetchone() is not None


def files(db: Connection, sid: int, limit: int | None = None, offset: int = 0) -> list[Entry]:
    """Return the live files of session *sid* by sequence."""
    return [to_entry(row) for row in db.execute(_FILES, (sid, -1 if limit is None else limit, offset))]


def children(db: Connection, folder: int) -> list[Entry]:
    """Return the live entries in *folder*."""
    return [to_entry(row) for row in db.execute(_CHILDREN, (folder,))]


def drafts(db: Connection, sid: int | None = None) -> list[Entry]:
    """Return the drafts of session *sid*, or of all."""
    if sid is None:
        return [to_entry(row) for row in db.execute(_DRAFTS)]
    return [to_entry(row) for row in db.execute(f"{_DRAFTS} AND e.sid = ?", (sid,))]


def has_drafts(db: Connection, sid: int) -> bool:
    """Tell whether session *sid* has drafts."""
    return db.execute("SELECT 1 FROM entry WHERE sid = ? AND seq_from IS NULL LIMIT 1", (sid,)).fetchone() is not None


def draft_owners(db: Connection) -> dict[int, str]:
    """Return which spool folder each draft's eid belongs to; what has none may be a row of history that is harmed."""
    query = "SELECT eid, draft FROM entry WHERE seq_from IS NULL AND draft IS NOT NULL"
    return {eid: str(draft) for eid, draft in db.execute(query)}


def ended_between(db: Connection, sid: int, first: int, last: int) -> list[Entry]:
    """Return the rows of session *sid* whose `seq_to` is from *first* to *last*, latest first."""
    return [to_entry(row) for row in db.execute(_ENDED, (sid, first, last))]


def dirents(db: Connection, folder: int) -> Iterator[Dirent]:
    """Yield what listing *folder* needs of each live entry."""
    for row in db.execute(_DIRENTS, (folder,)):
        yield Dirent(row[0], row[1], Kind(row[2]), Attributes(*row[3:9]), row[9], row[10], row[11])


def tops(db: Connection) -> list[tuple[str, int, Attributes, int]]:
    """Return each live session's directory name, and its top's ino, attributes and number of folders in it."""
    query = (
        f"SELECT r.dirname, s.ino, ({_COUNT} s.ino), i.mode, i.uid, i.gid, i.mtime_ns, i.ctime_ns, i.atime_ns"  # noqa: S608
        " FROM session_row r JOIN session s ON s.sid = r.sid JOIN inode i ON i.ino = s.ino"
        " WHERE r.seq_to IS NULL ORDER BY s.sid"
    )
    return [(row[0], row[1], Attributes(*row[3:]), row[2]) for row in db.execute(query)]


def tops_in_all(db: Connection) -> tuple[int, int | None]:
    """Return how many sessions are live, and when a directory name last came, went or changed."""
    query = "SELECT count(*), (SELECT value FROM store WHERE key = 'listed_ns') FROM session_row WHERE seq_to IS NULL"
    found: tuple[int, int | None] = db.execute(query).fetchone()
    return found


def has_children(db: Connection, folder: int) -> bool:
    """Tell whether *folder* has live entries."""
    return (
        db.execute("SELECT 1 FROM entry WHERE folder = ? AND seq_to IS NULL LIMIT 1", (folder,)).fetchone() is not None
    )


def folder_names(db: Connection, sid: int) -> dict[int, tuple[int, str]]:
    """Return the parent (ino) and the name of each live folder of session *sid*, by ino."""
    query = "SELECT ino, folder, name FROM entry WHERE sid = ? AND kind = 1 AND seq_to IS NULL"
    return {ino: (folder, name) for ino, folder, name in db.execute(query, (sid,))}


def last_place(db: Connection, ino: int) -> tuple[int, str] | None:
    """Return the parent (ino) and name that the folder *ino* has or last had; None for a session's top."""
    query = "SELECT folder, name FROM entry WHERE ino = ? AND kind = 1 ORDER BY eid DESC LIMIT 1"
    row: tuple[int, str] | None = db.execute(query, (ino,)).fetchone()
    return row


def way_up(db: Connection, top: int | None, folder: int, name: str) -> Iterator[tuple[int, str]]:
    """Yield the place (an ino and a name) of *name* in *folder*, and of each folder above up to *top*, by last names.

    Raises Corrupt where the folders go in a circle.
    """

    def above(place: tuple[int, str]) -> tuple[int, str] | None:
        return None if place[0] == top else last_place(db, place[0])

    return climb((folder, name), above, f"folder of {name!r} (inode {folder})")


def is_live_folder(db: Connection, sid: int, ino: int) -> bool:
    """Tell whether *ino* is a folder of session *sid* that has not been deleted; its top is none of these."""
    query = "SELECT 1 FROM entry WHERE ino = ? AND kind = 1 AND seq_to IS NULL AND sid = ?"
    return db.execute(query, (ino, sid)).fetchone() is not None


def is_folder_elsewhere(db: Connection, sid: int, ino: int) -> bool:
    """Tell whether *ino* is or was a folder of another session than *sid*, as far as history goes back."""
    query = "SELECT 1 FROM entry WHERE ino = ? AND kind = 1 AND +sid <> ?"
    return db.execute(query, (ino, sid)).fetchone() is not None


def insert(db: Connection, new: NewEntry, seq_from: int | None, draft: str | None = None) -> int:
    """Insert a row valid from *seq_from* (None: a draft, of the spool folder *draft*); return its eid."""
    is_file = new.kind is Kind.FILE
    cursor = db.execute(
        "INSERT INTO entry (sid, folder, name, ino, kind, seq_from, draft, target, sequence, version, content, size,"
        " type, mime_type, description, tags, custom, created_ns, updated_ns)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.sid, new.folder, new.name, new.ino, int(new.kind), seq_from, draft, new.target, new.sequence,
            new.version, new.content, new.size, new.artifact_type, new.mime_type, new.description,
            canonical(list(new.tags)) if is_file else None, canonical(new.custom or {}) if is_file else None,
            new.created_ns, new.updated_ns,
        ),
    )  # fmt: skip
    eid = cursor.lastrowid
    assert eid is not None
    if is_file and (new.tags or new.custom):
        _label(db, eid, new)
    return eid


def _label(db: Connection, eid: int, new: NewEntry) -> None:
    rows = [(key, value, eid) for key, value in labels(new.tags, new.custom or {})]
    db.executemany("INSERT OR IGNORE INTO entry_label (key, value, eid) VALUES (?, ?, ?)", rows)


def end(db: Connection, entry: Entry, seq_to: int) -> None:
    """End the validity of the row *entry* before *seq_to*."""
    db.execute("UPDATE entry SET seq_to = ? WHERE eid = ?", (seq_to, entry.eid))
    if entry.file is not None and (entry.file.tags or entry.file.custom):
        db.execute("DELETE FROM entry_label WHERE eid = ?", (entry.eid,))


def amend_draft(db: Connection, eid: int, content: int, size: int, updated_ns: int) -> None:
    """Give the draft *eid* other content."""
    query = "UPDATE entry SET content = ?, size = ?, updated_ns = ? WHERE eid = ? AND seq_from IS NULL"
    db.execute(query, (content, size, updated_ns, eid))


def describe_draft(db: Connection, eid: int, new: NewEntry) -> None:
    """Give the draft *eid* the metadata of *new*."""
    query = (
        "UPDATE entry SET type = ?, mime_type = ?, description = ?, tags = ?, custom = ?"
        " WHERE eid = ? AND seq_from IS NULL"
    )
    tags, custom = canonical(list(new.tags)), canonical(new.custom or {})
    db.execute(query, (new.artifact_type, new.mime_type, new.description, tags, custom, eid))
    db.execute("DELETE FROM entry_label WHERE eid = ?", (eid,))
    _label(db, eid, new)


def seal_draft(db: Connection, entry: Entry, seq: int) -> None:
    """Put the draft *entry* into history at *seq*, and end there the row that it replaces."""
    db.execute("UPDATE entry SET seq_from = ?, draft = NULL WHERE eid = ?", (seq, entry.eid))
    query = "UPDATE entry SET seq_to = ? WHERE kind = 0 AND sid = ? AND sequence = ? AND seq_to = ?"
    db.execute(query, (seq, entry.sid, entry.facts.sequence, SUPERSEDED))


def to_entry(row: tuple[Any, ...], inside: int = 0) -> Entry:
    """Return a row that `SELECT` gave as an Entry; *inside* it, where it is a folder, are that many folders.

    Raises Corrupt where it has what no entry has.
    """
    try:
        attributes = Attributes(*row[8:14])
        kind = Kind(row[5])
        if kind is not Kind.FILE:
            common = (row[0], row[1], row[2], row[3], row[4], kind, row[6], row[7], attributes)
            return Entry(*common, None, row[14], inside)
        tags = tuple(json.loads(row[24])) if row[24] != "[]" else ()
        custom = json.loads(row[25]) if row[25] != "{}" else {}
        facts = FileFacts(
            row[15], row[16], row[17], row[18].hex() if row[18] else "", row[19], row[20] or 0, row[21], row[22],
            row[23], tags, custom, row[26], row[27],
        )  # fmt: skip
        return Entry(row[0], row[1], row[2], row[3], row[4], kind, row[6], row[7], attributes, facts)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise Corrupt(f"the row of {row[3]!s}: `llmspellfs fsck` tells more") from None
