"""What the past of a session grants: what the row's own inode does, less what the present does not.

A file or folder of the past has its own permission bits less what those of the present one, and of the folders on the
way to that, do not give; what is gone now is its owner's alone.
"""

from __future__ import annotations

from dataclasses import replace

from llmspellfs.errors import Corrupt
from llmspellfs.model.artifact import Entry, Kind
from llmspellfs.model.climb import climb
from llmspellfs.model.permissions import Permissions, owners_alone, searchable, stricter
from llmspellfs.storage import past, sessions
from llmspellfs.storage.index import Connection
from llmspellfs.storage.past import PastRow, Twin


class Grants:
    """What the past of one session grants, by what the present does; for the length of one transaction."""

    def __init__(self, db: Connection, sid: int) -> None:
        """Look at session *sid*'s present through *db*."""
        self._db, self._sid = db, sid
        session = sessions.load_any(db, sid)
        self._top = 0 if session is None else session.ino
        self._ways: dict[int, list[Permissions] | None] = {}

    def entry(self, row: PastRow, at_ns: int) -> Entry:
        """Return *row*'s entry with the permissions that it has now, and times that are not after it."""
        entry, twin = row
        a = entry.attributes
        bound = at_ns if entry.file is None or entry.seq_to is None else min(entry.file.updated_ns, at_ns)
        if entry.kind is not Kind.SYMLINK:
            a = replace(a, mode=self._mode(Permissions(a.mode, a.uid, a.gid), twin))
        mtime = a.mtime_ns if entry.seq_to is None else min(a.mtime_ns, bound)
        return replace(entry, attributes=replace(a, mtime_ns=mtime, ctime_ns=min(a.ctime_ns, bound), atime_ns=None))

    def _mode(self, own: Permissions, twin: Twin | None) -> int:
        way = None if twin is None else self._way(twin.folder)
        if twin is None or way is None:
            return owners_alone(own).mode
        own = stricter(own, twin.permissions)
        for folder in way:
            own = searchable(own, folder)
        return own.mode

    def _way(self, folder: int) -> list[Permissions] | None:
        """Return the permissions of *folder* and of those above it up to the session's top; None where one is gone."""
        if folder not in self._ways:
            try:
                unknown = list(climb(folder, self._above, "folder"))
            except Corrupt:  # nobody comes to it now
                self._ways[folder] = None
            else:
                for each in reversed(unknown):
                    self._ways[each] = self._find_way(each)
        return self._ways[folder]

    def _above(self, folder: int) -> int | None:
        """Return the folder that *folder* is in, where the way to that is to be found first."""
        above = None if folder == self._top else past.folder_above(self._db, self._sid, folder)
        return None if above in self._ways else above

    def _find_way(self, folder: int) -> list[Permissions] | None:
        own = past.permissions_of(self._db, folder)
        if own is None or folder == self._top:
            return None if own is None else [own]
        above = past.folder_above(self._db, self._sid, folder)
        rest = None if above is None else self._ways[above]
        return None if rest is None else [own, *rest]
