"""Checking a store: audit chains, the rows that they cover, every byte of content, and the store's folder.

Nothing is changed and nothing raised for what is wrong: it is found, and the artifacts that it harms are named.
"""

from __future__ import annotations

from collections.abc import Iterator

from llmspellfs.errors import Corrupt
from llmspellfs.service.chains import ChainReport, verify_chain
from llmspellfs.service.check_content import ContentCheck
from llmspellfs.service.check_findings import Findings, FsckReport, Problem, Progress
from llmspellfs.service.check_rows import (
    check_entries,
    check_events,
    check_labels,
    check_parents,
    check_sessions,
    check_text,
    check_text_within,
)
from llmspellfs.service.engine import Engine
from llmspellfs.storage import audit, audit_files, audit_rows, audit_schema, contents
from llmspellfs.storage.index import Connection


def fsck(engine: Engine, progress: Progress | None = None, *, quick: bool = False) -> FsckReport:
    """Check everything of *engine*'s store, or with *quick* all but the bytes of content; see it as at one moment."""
    try:
        return _fsck(engine, progress, quick=quick)
    except Corrupt as error:  # where the index is so harmed that even the questions fail
        return FsckReport((Problem("index", "index", error.what),), 0, 0, 0, 0)


def _fsck(engine: Engine, progress: Progress | None, *, quick: bool) -> FsckReport:
    with engine.index.snapshot() as lent, audit.lenient(lent) as db:
        found = Findings(db)
        lacking = audit_schema.gone(db)
        for line in lacking:
            found.unreadable(line)
        if audit_schema.is_unusable(lacking):
            return FsckReport(found.all(), 0, 0, 0, 0)
        for line in audit.integrity(db, quick=quick):
            found.unreadable(line)
        reports = list(audit.told(iter(_chains(db, found)), found.unreadable))
        found.rows()
        _check_rows(found)
        content = ContentCheck(engine, found)
        content.files()
        total = content.count() if quick else content.everything(progress)
        chunks = contents.count_chunks(db)
        _note_unused(found)
        _check_folder(engine, found)
        if not quick:
            check_text_within(found)
    events = sum(report.events for report in reports)
    return FsckReport(found.all(), len(reports), events, total, chunks)


def _chains(db: Connection, found: Findings) -> Iterator[ChainReport]:
    for chain in audit.chains(db):
        report = verify_chain(db, chain)
        if report.problem is not None:
            found.add("chain", report.dirname, report.problem, key=chain.sid)
        yield report


def _check_rows(found: Findings) -> None:
    """Check what SQL alone cannot: rows against hashes, derived rows, and the tree of sessions."""
    check_entries(found)
    check_sessions(found)
    check_events(found)
    check_labels(found)
    check_text(found)
    check_parents(found)


def _note_unused(found: Findings) -> None:
    for kind, count, what in audit_rows.unused(found.db):
        if count:
            found.add(kind, "store", f"{count} {what}", is_note=True)


def _check_folder(engine: Engine, found: Findings) -> None:
    if engine.rooms.path is None:
        return
    for strange in audit_files.exposed(str(engine.rooms.path)):
        found.add(strange.kind, strange.path, strange.what)
    for strange in audit_files.leftovers(str(engine.rooms.path)):
        found.add(strange.kind, strange.path, strange.what, is_note=True)
