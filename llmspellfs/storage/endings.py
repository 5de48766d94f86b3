"""What an index tells of rows that another reading of it has and it has not: that they have ended, were purged, pruned.

It only reads.
"""

from __future__ import annotations

from llmspellfs.storage import audit, mending_rows
from llmspellfs.storage.index import Connection
from llmspellfs.storage.schema import SUPERSEDED


class Facts:
    """What the index *db*, which is to take another's place, tells of rows that are others there, or gone."""

    def __init__(self, db: Connection, *, is_later: bool) -> None:
        self._db, self.is_later = db, is_later
        found = db.execute("SELECT sid, id, horizon_seq, purged_ns IS NOT NULL FROM session").fetchall()
        self._horizons = {sid: horizon for sid, _, horizon, _ in found}
        self._purged = {name for sid, session, _, is_purged in found if is_purged for name in (sid, session)}
        self._goings = dict[int, audit.Goings]()

    def _has(self, query: str, *values: object) -> bool:
        return bool(self._db.execute(f"SELECT EXISTS ({query})", values).fetchone()[0])

    def is_purged(self, session: object) -> bool:
        """Tell whether the *session* (its sid, or its id) was."""
        return session in self._purged

    def is_erased(self, sid: int, sequence: object, seq: object = None) -> bool:
        """Tell whether the artifact *sequence* was purged, or, where it began at *seq*, deleted within a minute."""
        if sid not in self._goings:
            self._goings[sid] = audit.goings(self._db, sid)
        line = audit.line(self._db, sid, seq) if isinstance(seq, int) else None
        is_gone = sequence in self._goings[sid].purged
        return is_gone or (line is not None and self._goings[sid].excuses(sequence, line.seq, line.at_ns))

    def is_past(self, sid: int, begin: object, end: object) -> bool:
        """Tell whether nobody is shown what was valid from *begin* to *end* any more."""
        if not isinstance(begin, int) or not isinstance(end, int) or end > self._horizons.get(sid, 0):
            return False
        return not self._has("SELECT 1 FROM checkpoint WHERE sid = ? AND seq >= ? AND seq < ?", sid, begin, end)

    def next_of_session(self, sid: int, begin: int) -> int | None:
        """Return where the next row of a session's own fields begins that is there, None where none does."""
        query = "SELECT min(seq_from) FROM session_row WHERE sid = ? AND seq_from > ?"
        found: int | None = self._db.execute(query, (sid, begin)).fetchone()[0]
        return found

    def next_about(self, sid: int, sequence: object, name: str, begin: object) -> int | None:
        """Return the seq of the event that ended a live row from *begin*, of an artifact or of a *name*; None: none."""
        if not isinstance(begin, int) or self._horizons.get(sid, 0) <= begin:  # nor would it matter
            return None
        if isinstance(sequence, int):
            return mending_rows.next_about(self._db, sid, sequence, begin)
        found: int | None = self._db.execute(_NEXT_OF_NAME, (sid, begin, name)).fetchone()[0]
        return found

    def has_ended(self, sid: int, end: object, later: object) -> bool:
        """Tell whether a row that was valid to *end* may have been to *later* since."""
        if end == later:
            return True
        if end is None and later == SUPERSEDED:
            return True
        is_open = end is None or end == SUPERSEDED
        return is_open and self._has("SELECT 1 FROM event WHERE sid = ? AND seq = ?", sid, later)

    def refers_to(self, cid: object) -> bool:
        """Tell whether a row has the content *cid*."""
        return self._has("SELECT 1 FROM entry WHERE content = ?", cid)

    def uses(self, ino: object) -> bool:
        """Tell whether anything has the inode *ino*."""
        either = "SELECT 1 FROM entry WHERE ino = ?1 UNION ALL SELECT 1 FROM session WHERE ino = ?1"
        return self._has(either, ino)

    def has_content(self, cid: object) -> bool:
        """Tell whether the content *cid* is there."""
        return self._has("SELECT 1 FROM content WHERE cid = ?", cid)

    def has_pruned(self, message: int, payload: str) -> bool:
        """Tell whether a message is too old to be there, or names a session that was purged."""
        if any(isinstance(name, str) and name in payload for name in self._purged):
            return True
        given = "SELECT 1 FROM sqlite_sequence WHERE name = 'message' AND seq >= ?"
        return self._has(given, message) and not self._has("SELECT 1 FROM message WHERE id < ?", message)


_NEXT_OF_NAME = """
    SELECT min(seq) FROM event WHERE sid = ?1 AND seq > ?2 AND json_valid(line)
    AND substr(kind, instr(kind, '.')) IN ('.deleted', '.renamed', '.moved_out')
    AND '/' || ?3 = substr('/' || coalesce(json_extract(line, '$.from'), json_extract(line, '$.name')), -length(?3) - 1)
"""
