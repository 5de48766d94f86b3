"""The SQL of what rows must be among each other: references, validity, counters, labels, the trees of folders.

Every function takes a connection and reads only.
"""

# ruff: noqa: S608 - queries are made of constants of this module and the schema

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llmspellfs.storage import audit_trail, audit_usage
from llmspellfs.storage.index import Connection
from llmspellfs.storage.invariants import Flaw, Invariant, broken
from llmspellfs.storage.schema import SUPERSEDED


def flaws(db: Connection, failed: Callable[[str], None]) -> Iterator[Flaw]:
    """Yield what rows are that they must not be; *failed* is told where the index cannot be read."""
    return broken(db, (*_INVARIANTS, *audit_trail.INVARIANTS, *audit_usage.INVARIANTS), failed)


_LAST = str(SUPERSEDED)
OF_FILES = (
    "sequence", "version", "size", "type", "mime_type", "description", "tags", "custom", "created_ns", "updated_ns",
)  # fmt: skip
SPARE = (
    f"(kind != 0 AND coalesce({', '.join(OF_FILES)}, content) IS NOT NULL)"
    " OR (kind != 2 AND target IS NOT NULL) OR (seq_from IS NOT NULL AND draft IS NOT NULL)"
)
"""Rows with a value that their kind has no use for."""
NO_CODEC = "(data IS NULL) != (codec IS NULL) OR codec NOT IN (0, 1)"
NO_CHUNK_CODEC = "codec NOT IN (0, 1)"
_FOLDERS = "SELECT ino FROM session UNION ALL SELECT ino FROM entry WHERE kind = 1"
_LIVE_FOLDERS = f"{_FOLDERS} AND seq_to IS NULL"

_INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "content", "eid", "row {0} ({1})", "its content is not in the index",
        "SELECT eid, name FROM entry WHERE content IS NOT NULL AND content NOT IN (SELECT cid FROM content)",
    ),
    Invariant(
        "content", "eid", "row {0} ({1})", "a file without content",
        "SELECT eid, name FROM entry WHERE kind = 0 AND content IS NULL",
    ),
    Invariant(
        "size", "eid", "row {0} ({1})", "its size is not its content's",
        "SELECT e.eid, e.name FROM entry e JOIN content c ON c.cid = e.content WHERE c.size IS NOT e.size",
    ),
    Invariant(
        "inode", "eid", "row {0} ({1})", "its inode is not there",
        "SELECT eid, name FROM entry WHERE ino NOT IN (SELECT ino FROM inode)",
    ),
    Invariant(
        "inode", "session", "session {1}", "the inode of its top is not there",
        "SELECT sid, id FROM session WHERE ino NOT IN (SELECT ino FROM inode)",
    ),
    Invariant(
        "inode", None, "inode {0}", "no row has it",
        """SELECT ino FROM inode WHERE ino NOT IN (SELECT ino FROM entry) AND ino NOT IN (SELECT ino FROM session)""",
    ),
    Invariant(
        "inode", None, "inode {0}", "its mode is no mode of a file",
        "SELECT ino FROM inode WHERE mode NOT BETWEEN 0 AND 4095 OR typeof(mode) != 'integer'",
    ),
    Invariant(
        "spare", None, "row {0} ({1})", "it has what only files have, or only links, or only drafts",
        f"SELECT eid, name FROM entry WHERE {SPARE}",
    ),
    Invariant(
        "validity", "eid", "row {0} ({1})", "it begins at no seq, and is no draft",
        "SELECT eid, name FROM entry WHERE seq_from IS NULL AND (kind != 0 OR seq_to IS NOT NULL OR draft IS NULL)",
    ),
    Invariant(
        "codec", None, "content {0}", "it is written in no way that there is",
        f"SELECT cid FROM content WHERE {NO_CODEC}",
    ),
    Invariant(
        "codec", None, "chunk {0}", "it is written in no way that there is",
        f"SELECT lower(hex(hash)) FROM chunk WHERE {NO_CHUNK_CODEC}",
    ),
    Invariant(
        "text", None, "full text", "it is made up to row {0}, and the last one was {1}",
        """SELECT value, last FROM (SELECT value, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'entry'), 0)
           AS last FROM store WHERE key = 'indexed_eid') WHERE typeof(value) != 'integer' OR value NOT BETWEEN 0
           AND last""",
    ),
    Invariant(
        "folder", "eid", "row {0} ({1})", "its folder is not there",
        f"SELECT eid, name FROM entry WHERE seq_to IS NULL AND folder NOT IN ({_LIVE_FOLDERS})",
    ),
    Invariant(
        "past-folder", "eid", "row {0} ({1})", "its folder never was",
        f"SELECT eid, name FROM entry WHERE seq_to IS NOT NULL AND folder NOT IN ({_FOLDERS})",
    ),
    Invariant(
        "folder", "eid", "row {0} ({1})", "its folder is another session's",
        """SELECT e.eid, e.name FROM entry e LEFT JOIN entry f ON f.ino = e.folder AND f.kind = 1 AND f.seq_to IS NULL
           LEFT JOIN session s ON s.ino = e.folder
           WHERE e.seq_to IS NULL AND e.sid != coalesce(f.sid, s.sid, e.sid)""",
    ),
    Invariant(
        "cycle", "below", "folder {1} (inode {0})", "it is inside itself, or inside one that is",
        f"""WITH RECURSIVE reached(ino) AS (SELECT ino FROM session UNION
                SELECT f.ino FROM entry f JOIN reached r ON f.folder = r.ino WHERE f.kind = 1 AND f.seq_to IS NULL),
            lost(ino) AS (
                SELECT ino FROM entry WHERE kind = 1 AND seq_to IS NULL AND folder NOT IN ({_LIVE_FOLDERS}) UNION
                SELECT f.ino FROM entry f JOIN lost l ON f.folder = l.ino WHERE f.kind = 1 AND f.seq_to IS NULL)
           SELECT ino, name FROM entry WHERE kind = 1 AND seq_to IS NULL
               AND ino NOT IN (SELECT ino FROM reached) AND ino NOT IN (SELECT ino FROM lost)""",
    ),
    Invariant(
        "session", None, "row {0} ({1})", "its session is not there",
        "SELECT eid, name FROM entry WHERE sid NOT IN (SELECT sid FROM session)",
    ),
    Invariant(
        "session", None, "session {0}", "it has {1} events, and is not there itself",
        "SELECT sid, count(*) FROM event WHERE sid NOT IN (SELECT sid FROM session) GROUP BY sid",
    ),
    Invariant(
        "session", None, "session row {0} ({1})", "its session is not there",
        "SELECT rid, dirname FROM session_row WHERE sid NOT IN (SELECT sid FROM session)",
    ),
    Invariant(
        "session", "session", "session {1}", "nothing says what it is called",
        "SELECT sid, id FROM session WHERE sid NOT IN (SELECT sid FROM session_row)",
    ),
    Invariant(
        "session", "session", "session {1}", "it is deleted and listed, or neither",
        """SELECT s.sid, s.id FROM session s WHERE s.sid IN (SELECT sid FROM session_row) AND (s.deleted_ns IS NULL)
           != EXISTS (SELECT 1 FROM session_row r WHERE r.sid = s.sid AND r.seq_to IS NULL)""",
    ),
    Invariant(
        "session", "session", "session {1}", "it is purged and has rows",
        """SELECT sid, id FROM session s WHERE purged_ns IS NOT NULL AND EXISTS (SELECT 1 FROM entry WHERE sid = s.sid)
           AND sid NOT IN (SELECT sid FROM purge)""",
    ),
    Invariant(
        "bytes", "content", "content {1}", "{2} of its chunks are not in the index",
        """SELECT m.cid, lower(hex(c.hash)), count(DISTINCT m.kid) FROM content_chunk m JOIN content c ON c.cid = m.cid
           WHERE m.kid NOT IN (SELECT kid FROM chunk) GROUP BY m.cid""",
    ),
    Invariant(
        "loose-part", None, "content {0}", "it is not in the index, and its chunks are listed",
        "SELECT DISTINCT cid FROM content_chunk WHERE cid NOT IN (SELECT cid FROM content)",
    ),
    Invariant(
        "stored-size", None, "content {0}", "it takes {2} bytes, and the index says {1}",
        """SELECT cid, stored_size, length(data) AS real FROM content WHERE data IS NOT NULL AND stored_size != real
           UNION ALL
           SELECT c.cid, c.stored_size, sum(k.stored_size) AS real FROM content c
           JOIN (SELECT DISTINCT cid, kid FROM content_chunk) m ON m.cid = c.cid JOIN chunk k ON k.kid = m.kid
           WHERE c.data IS NULL GROUP BY c.cid HAVING c.stored_size != real""",
    ),
    Invariant(
        "stored-size", None, "chunk {0}", "it takes {2} bytes, and the index says {1}",
        """SELECT lower(hex(hash)), stored_size, length(data) AS real FROM chunk
           WHERE data IS NOT NULL AND stored_size != real""",
    ),
    Invariant(
        "counter", None, "session {1}", "counts {2} artifacts and has {3}",
        """SELECT s.sid, s.id, s.artifact_count, coalesce(n.files, 0) FROM session s LEFT JOIN (SELECT sid, count(*)
           AS files FROM entry WHERE kind = 0 AND seq_to IS NULL GROUP BY sid) n ON n.sid = s.sid
           WHERE s.artifact_count IS NOT coalesce(n.files, 0)""",
    ),
    Invariant(
        "counter", None, "session {1}", "counts {2} bytes and has {3}",
        """SELECT s.sid, s.id, s.total_size, coalesce(n.bytes, 0) FROM session s LEFT JOIN (SELECT sid, sum(size)
           AS bytes FROM entry WHERE kind = 0 AND seq_to IS NULL GROUP BY sid) n ON n.sid = s.sid
           WHERE s.total_size IS NOT coalesce(n.bytes, 0)""",
    ),
    Invariant(
        "counter", None, "session {0}", "its trail is {2} bytes long, and the index says {1}",
        """SELECT s.id, s.trail_size, coalesce(v.ends, 0) FROM session s LEFT JOIN event v ON v.sid = s.sid
           AND v.seq = s.seq WHERE s.trail_size IS NOT coalesce(v.ends, s.trail_size)""",
    ),
    Invariant(
        "counter", None, "session {0}", "its last event was at {2} ns, and the index says {1}",
        """SELECT s.id, s.last_ns, v.at_ns FROM session s JOIN event v ON v.sid = s.sid AND v.seq = s.seq
           WHERE s.last_ns IS NOT v.at_ns""",
    ),
    Invariant(
        "counter", None, "session {0}", "its next artifact would be {1}, and it has had {2}",
        """SELECT s.id, s.next_sequence, max(e.sequence) FROM session s JOIN entry e ON e.sid = s.sid AND e.kind = 0
           GROUP BY s.sid HAVING s.next_sequence <= max(e.sequence)""",
    ),
    Invariant(
        "counter", None, "session {0}", "its history begins at seq {1}, past its last event {2}",
        "SELECT id, horizon_seq, seq FROM session WHERE horizon_seq NOT BETWEEN 0 AND seq",
    ),
    Invariant(
        "counter", None, "store", "the next inode would be {0}, and there is {1}",
        """SELECT n.next, m.most FROM (SELECT value AS next FROM store WHERE key = 'next_ino') n, (SELECT max(
           coalesce((SELECT max(ino) FROM inode), 0), coalesce((SELECT max(ino) FROM session), 0)) AS most) m
           WHERE n.next <= m.most OR typeof(n.next) != 'integer'""",
    ),
    Invariant(
        "counter", None, "store", "it does not say {0}",
        """SELECT k.column1 FROM (VALUES ('next_ino'), ('uuid'), ('created_ns'), ('synced_ns')) k
           WHERE NOT EXISTS (SELECT 1 FROM store WHERE key = k.column1)""",
    ),
    Invariant(
        "counter", None, "index", "{0} would give number {1} again",
        """SELECT t.name, t.most FROM (SELECT 'entry' AS name, max(eid) AS most FROM entry UNION ALL
           SELECT 'content', max((SELECT coalesce(max(cid), 0) FROM content),
                                 (SELECT coalesce(max(content), 0) FROM entry))) t
           WHERE t.most > coalesce((SELECT seq FROM sqlite_sequence q WHERE q.name = t.name), 0)""",
    ),
    Invariant(
        "validity", "eid", "row of {1}", "ends before it begins, at seq {2}",
        "SELECT eid, name, seq_from FROM entry WHERE seq_to <= seq_from",
    ),
    Invariant(
        "validity", "eid", "row {0} ({1})", "it begins or ends past the session's last event",
        f"""SELECT e.eid, e.name FROM entry e JOIN session s ON s.sid = e.sid WHERE e.seq_from > s.seq
            OR (e.seq_to > s.seq AND e.seq_to < {_LAST}) OR e.seq_from < 1""",
    ),
    Invariant(
        "validity", "eid", "row {0} ({1})", "it waits for a draft that is not there",
        f"""SELECT e.eid, e.name FROM entry e WHERE e.seq_to = {_LAST} AND NOT EXISTS (SELECT 1 FROM entry d
            WHERE d.kind = 0 AND d.sid = e.sid AND d.sequence = e.sequence AND d.seq_from IS NULL)""",
    ),
    Invariant(
        "validity", "eid", "row {0} ({1})", "event {2} ended it, and it lives on",
        """SELECT e.eid, e.name, v.seq FROM event v CROSS JOIN entry e INDEXED BY entry_by_sequence
           ON e.kind = 0 AND e.sid = v.sid AND e.sequence = CASE WHEN json_valid(v.line)
              THEN json_extract(v.line, '$.sequence') END AND e.seq_to IS NULL AND e.seq_from < v.seq
           WHERE v.kind IN ('artifact.deleted', 'artifact.moved_out')""",
    ),
    Invariant(
        "validity", "session", "session row {1}", "ends before it begins, or past the session's last event",
        """SELECT r.sid, r.rid FROM session_row r JOIN session s ON s.sid = r.sid
           WHERE r.seq_to <= r.seq_from OR r.seq_from > s.seq OR r.seq_to > s.seq + 1""",
    ),
    Invariant(
        "checkpoint", None, "session {0}", "event {1} saved it, and no checkpoint says so",
        """SELECT s.id, v.seq FROM event v JOIN session s ON s.sid = v.sid WHERE v.kind = 'session.saved'
           AND s.purged_ns IS NULL AND NOT EXISTS (SELECT 1 FROM checkpoint k WHERE k.sid = v.sid AND k.seq = v.seq)""",
    ),
    Invariant(
        "counter", None, "session {0}", "its history begins at seq {1}, and goes back to seq {2}",
        """SELECT s.id, s.horizon_seq, min(e.seq_to) FROM entry e JOIN session s ON s.sid = e.sid
           WHERE e.seq_to <= s.horizon_seq AND NOT EXISTS (SELECT 1 FROM checkpoint k WHERE k.sid = e.sid
           AND k.seq >= e.seq_from AND k.seq < e.seq_to) AND s.sid NOT IN (SELECT sid FROM purge) GROUP BY s.sid""",
    ),
    Invariant(
        "overlap", "eid", "row {0} ({1})", "another of the same name and folder is valid at the same time",
        f"""SELECT eid, name FROM (SELECT eid, name, coalesce(seq_from, {_LAST}) AS begins, max(coalesce(seq_to,
            {_LAST})) OVER (PARTITION BY sid, folder, name ORDER BY coalesce(seq_from, {_LAST}), eid ROWS BETWEEN
            UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM entry) WHERE before > begins""",
    ),
    Invariant(
        "overlap", "eid", "row {0} ({1})", "another of the same inode is valid at the same time",
        f"""SELECT eid, name FROM (SELECT eid, name, coalesce(seq_from, {_LAST}) AS begins, max(coalesce(seq_to,
            {_LAST})) OVER (PARTITION BY sid, ino ORDER BY coalesce(seq_from, {_LAST}), eid ROWS BETWEEN UNBOUNDED
            PRECEDING AND 1 PRECEDING) AS before FROM entry) WHERE before > begins""",
    ),
    Invariant(
        "overlap", "session", "session row {1}", "another of the session is valid at the same time",
        f"""SELECT sid, rid FROM (SELECT sid, rid, seq_from AS begins, max(coalesce(seq_to, {_LAST})) OVER (PARTITION
            BY sid ORDER BY seq_from, rid ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
            FROM session_row) WHERE before > begins""",
    ),
    Invariant(
        "parent", None, "session {1}", "its parent is not there",
        """SELECT s.id, r.dirname FROM session s JOIN session_row r ON r.sid = s.sid AND r.seq_to IS NULL
           WHERE r.parent IS NOT NULL AND r.parent NOT IN (SELECT id FROM session)""",
    ),
    Invariant(
        "checkpoint", None, "session {1}", "its checkpoint {2} is of seq {3}, where no session.saved is",
        """SELECT s.sid, s.id, k.number, k.seq FROM checkpoint k JOIN session s ON s.sid = k.sid WHERE NOT EXISTS
           (SELECT 1 FROM event v WHERE v.sid = k.sid AND v.seq = k.seq AND v.kind = 'session.saved')""",
    ),
    Invariant(
        "checkpoint", None, "checkpoint {1} of session {0}", "its session is not there",
        "SELECT sid, number FROM checkpoint WHERE sid NOT IN (SELECT sid FROM session)",
    ),
    Invariant(
        "state", None, "state {0}", "it belongs to a session that is purged, or is not there",
        """SELECT scope, count(*) FROM state WHERE scope LIKE 'session:%' AND substr(scope, 9) NOT IN
           (SELECT id FROM session WHERE purged_ns IS NULL) GROUP BY scope""",
    ),
    Invariant(
        "label", None, "label {1} = {2} of row {0}", "no live file has that row",
        """SELECT l.eid, l.key, l.value FROM entry_label l LEFT JOIN entry e ON e.eid = l.eid AND e.kind = 0
           AND e.seq_to IS NULL WHERE e.eid IS NULL""",
    ),
    Invariant(
        "label", None, "label {1} = {2} of session {0}", "the session is not live",
        """SELECT sid, key, value FROM session_label
           WHERE sid NOT IN (SELECT sid FROM session_row WHERE seq_to IS NULL)""",
    ),
)  # fmt: skip


def parents(db: Connection) -> dict[str, str]:
    """Return the parent's id of each live session that has one, by its own."""
    query = "SELECT s.id, r.parent FROM session s JOIN session_row r ON r.sid = s.sid AND r.seq_to IS NULL"
    return {own: parent for own, parent in db.execute(query) if parent is not None}


def session_ids(db: Connection) -> set[str]:
    """Return the id of every session that ever was."""
    return {row[0] for row in db.execute("SELECT id FROM session")}


@dataclass(frozen=True, slots=True)
class Unused:
    """So many (*number*) of what a *noun* names, *which* are in no use now."""

    kind: str
    number: int
    noun: str
    which: str


def unused(db: Connection) -> Iterator[Unused]:
    """Yield the kind, the number and the noun of what is there and in no use now, and which: nothing is wrong."""
    for kind, noun, which, query in _UNUSED:
        yield Unused(kind, db.execute(query).fetchone()[0], noun, which)


_UNUSED = (
    (
        "loose", "content", "that no row refers to",
        "SELECT count(*) FROM content WHERE cid NOT IN (SELECT content FROM entry WHERE content IS NOT NULL)",
    ),
    (
        "loose", "chunk", "that no content has",
        "SELECT count(*) FROM chunk WHERE kid NOT IN (SELECT kid FROM content_chunk)",
    ),
    (
        "draft", "file", "open for writing, or left so by a process that has died",
        "SELECT count(*) FROM entry WHERE seq_from IS NULL",
    ),
)  # fmt: skip


def labelled(db: Connection) -> Iterator[tuple[int, str, str, str | None]]:
    """Yield each live file that has or should have labels: eid, tags, custom, and its labels as JSON text."""
    query = """
        SELECT e.eid, e.tags, e.custom, (SELECT json_group_array(json_array(l.key, l.value)) FROM entry_label l
        WHERE l.eid = e.eid) FROM entry e WHERE e.kind = 0 AND e.seq_to IS NULL
        AND (e.tags != '[]' OR e.custom != '{}' OR EXISTS (SELECT 1 FROM entry_label l WHERE l.eid = e.eid))
    """
    yield from db.execute(query)


def labelled_sessions(db: Connection) -> Iterator[tuple[int, str, str, str | None]]:
    """Yield each live session: sid, tags, metadata, and its labels as JSON text."""
    query = """
        SELECT r.sid, r.tags, r.metadata, (SELECT json_group_array(json_array(l.key, l.value)) FROM session_label l
        WHERE l.sid = r.sid) FROM session_row r WHERE r.seq_to IS NULL
    """
    yield from db.execute(query)
