"""Content that a store has before any row refers to it: brought by an import, until all of the archive is verified.

For as long as that takes, the process notes in the spool that it imports: garbage collection takes no content then, and
nobody who takes something back any that is there since.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Self

from llmspellfs.errors import SpellError
from llmspellfs.model.archive import refuse
from llmspellfs.service import unlinking
from llmspellfs.service.engine import Engine
from llmspellfs.service.incoming import Incoming, others_since
from llmspellfs.service.intake import Intake
from llmspellfs.storage import contents, erasing
from llmspellfs.storage.ingest import INLINE_LIMIT, Ingest, Staged, written
from llmspellfs.storage.spool import held
from llmspellfs.storage.staging import Staging

_MOST, _MOST_BYTES = 64, 8 << 20
"""Contents that wait for their rows, and the bytes of them that are in memory."""
_BATCH = 200


_WORD = "import"
_serials = count(1)


def is_importing(engine: Engine) -> bool:
    """Tell whether a living process is importing into *engine*'s store."""
    root = engine.rooms.path
    return root is not None and any(word.partition(".")[0] == _WORD for word in held(root))


class Unplaced:
    """The contents of one import; what it brought is taken away again at the end, unless `keep` was called."""

    def __init__(self, engine: Engine, intake: Intake, staging: Staging) -> None:
        """Begin with none; which were brought is noted in *staging*."""
        self._engine, self._intake, self._staging = engine, intake, staging
        self._waiting: list[Staged] = []
        self._bytes = 0
        self._open: Ingest | None = None
        self._kept = False
        self._incoming = Incoming(engine)
        self._word = f"{_WORD}.{next(_serials)}"

    def has(self, digest: str) -> bool:
        """Tell whether the store has the content *digest* (hex), and keeps it."""
        with self._engine.index.read() as db:
            return contents.is_known_content(db, bytes.fromhex(digest))

    def stage(self, where: str, digest: str, size: int, blocks: Iterable[bytes]) -> None:
        """Store *blocks* of *size* bytes whose BLAKE3 is *digest* (hex); raise Corrupt naming *where*, NoSpace."""
        staged = self._intake.stage(b"".join(blocks)) if size <= INLINE_LIMIT else self._large(blocks)
        self._waiting.append(staged)
        self._bytes += staged.stored_size
        if staged.hash.hex() != digest:
            raise refuse(where, "its bytes have another hash")
        if len(self._waiting) >= _MOST or self._bytes >= _MOST_BYTES:
            self.place()

    def _large(self, blocks: Iterable[bytes]) -> Staged:
        self._open = ingest = self._intake.begin()
        for block in blocks:
            ingest.feed(block)
        staged = ingest.finish()
        self._open = None
        return staged

    def place(self) -> None:
        """Give the contents that wait their rows in the index, to which no entry refers."""
        made = []
        quota = self._engine.quota
        with self._engine.index.write() as db:
            since = None if quota is None else quota.begin(db)
            for staged in self._waiting:
                is_new = contents.cid_of(db, staged.hash) is None
                placed = contents.place(db, staged, self._engine.rooms.blobs)
                made += [placed.cid] if is_new else []
            if quota is not None and since is not None:
                quota.check_store(db, since)
        self._staging.note_made(made)
        self._waiting, self._bytes = [], 0

    def keep(self) -> None:
        """Leave everything where it is: rows refer to it now."""
        self._kept = True

    def __enter__(self) -> Self:
        """Return itself, with all content kept from garbage collection; raise NoSpace, StoreBusy."""
        if (spool := self._engine.rooms.spool) is not None:
            spool.hold(self._word)
            try:
                with self._engine.index.write():
                    pass  # who is taking content back has not seen the word: what is read from now on knows what went
                self._incoming.__enter__()
            except BaseException:
                spool.free(self._word)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take away what was brought and is nobody's; should that fail too, garbage collection will.

        What others that are under way by then may rely on is left to garbage collection as well.
        """
        if (spool := self._engine.rooms.spool) is not None:
            self._incoming.__exit__(kind, error, trace)
            spool.free(self._word)
        if not self._kept:
            with suppress(SpellError):
                self._take_back()

    def _take_back(self) -> None:
        files, made, began_ns = set[str](), self._staging.made(), time.time_ns()  # as the files' times
        waiting = written(self._waiting).union(() if self._open is None else self._open.abandon())
        for start in range(0, len(made), _BATCH):
            with self._engine.index.write(durable=True, frees=True) as db:
                if self._is_relied_on():
                    break
                files.update(erasing.erase_contents(db, made[start : start + _BATCH]).files)
        unlinking.chunks(self._engine, sorted(files), put_before_ns=began_ns)
        unlinking.take_back(self._engine, waiting)

    def _is_relied_on(self) -> bool:
        now_ns = self._engine.now()
        return is_importing(self._engine) or others_since(self._engine, now_ns) < now_ns
