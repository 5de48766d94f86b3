"""Checking a store: audit chains, the rows that they cover, every byte of content, and the store's folder.

Nothing is changed and nothing raised for what is wrong: it is found, and the artifacts that it harms are named.
"""

from __future__ import annotations

from collections.abc import Iterator

from llmspellfs.errors import Corrupt
from llmspellfs.model.shown import count
from llmspellfs.service.chains import ChainReport, verify_chain
from llmspellfs.service.check_content import ContentCheck
from llmspellfs.service.check_findings import LOSS, Findings, FsckReport, Problem
from llmspellfs.service.check_progress import Course, Progress
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
        found = Findings(db, engine.rooms.path, course := Course(progress))
        lacking = audit_schema.gone(db)
        for line in lacking:
            found.unreadable(line)
        if audit_schema.is_unusable(lacking):
            return FsckReport(found.all(), 0, 0, 0, 0)
        for line in audit.integrity(db, quick=quick):
            found.unreadable(line)
        found.types()
        try:
            report = _look(engine, found, quick=quick)
        except audit.HARMED:
            if not found.counts["type"]:
                raise
            found.unreadable("more can be asked once its values have their columns' types")
            report = FsckReport(found.all(), 0, 0, 0, 0)
        course.end()
    return report


def _look(engine: Engine, found: Findings, *, quick: bool) -> FsckReport:
    """Check all that takes an index with its tables, and return the report."""
    rows, size = audit.count_checked(found.db)
    found.course.expect(rows=rows, size=0 if quick else size)
    reports = list(audit.told(iter(_chains(found.db, found)), found.unreadable))
    found.rows()
    _check_rows(found)
    content = ContentCheck(engine, found)
    content.files()
    total = content.count() if quick else content.everything()
    chunks = contents.count_chunks(found.db)
    _note_unused(found)
    _check_folder(engine, found)
    if not quick:
        check_text_within(found)
    return FsckReport(found.all(), len(reports), sum(report.events for report in reports), total, chunks)


def _chains(db: Connection, found: Findings) -> Iterator[ChainReport]:
    for chain in audit.chains(db):
        report = verify_chain(db, chain, through=found.course.through)
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
    """Note what is in no use now, and what becomes of it."""
    for one in audit_rows.unused(found.db):
        if one.number:
            them = "it" if one.number == 1 else "them"
            goes = found.goes(f"`gc` marks {them}, and removes {them} past its --grace")
            then = f": {goes}" if one.kind == "loose" else ""
            found.add(one.kind, "store", f"{count(one.number, one.noun)} {one.which}{then}", is_note=True)
    if found.kept is not None:
        found.add(
            LOSS if found.kept.is_lost else "kept", "gc", f"it collects no content: {found.kept.why}", is_note=True
        )


def _check_folder(engine: Engine, found: Findings) -> None:
    if engine.rooms.path is None:
        return
    for strange in audit_files.exposed(str(engine.rooms.path)):
        found.add(strange.kind, strange.path, strange.what)
    for strange, is_lost in audit_files.hidden_commits(str(engine.rooms.path)):
        found.add(strange.kind, strange.path, strange.what, is_note=not is_lost)
    for strange in audit_files.leftovers(str(engine.rooms.path)):
        found.add(strange.kind, strange.path, strange.what, is_note=True)
