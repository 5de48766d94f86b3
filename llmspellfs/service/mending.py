"""The one transaction of a repair that mends rows, and the events that tell of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from llmspellfs.service.check_findings import Problem
from llmspellfs.service.engine import Engine, Transaction
from llmspellfs.service.repair_content import ContentRepair
from llmspellfs.service.repair_homes import mend_homes, mend_kinds
from llmspellfs.service.repair_lost import mend_lost_rows, name_sessions
from llmspellfs.service.repair_overlaps import mend_overlaps
from llmspellfs.service.repair_rows import mend_rows, mend_session_rows
from llmspellfs.service.repair_tree import mend_folders, mend_parents
from llmspellfs.storage import audit, evidence, mending, mending_history, mending_rows, mending_trail, sessions
from llmspellfs.storage.mending import Done
from llmspellfs.storage.quarantine import Quarantine

_HISTORY = frozenset({"row", "validity", "overlap", "session", "event", "content", "spare"})
"""Kinds of problems after which rows are looked at one by one."""


class Mending:
    """The mending of one store's rows."""

    def __init__(self, engine: Engine, quarantine: Quarantine, backup: Path | None = None) -> None:
        """Mend *engine*'s store; rows that are removed or changed go to *quarantine* first.

        What is lost is looked for in *backup* too.
        """
        self._engine, self._quarantine, self._backup = engine, quarantine, backup
        self._content = ContentRepair(engine, quarantine)

    def run(self, problems: tuple[Problem, ...]) -> list[Done]:
        """Mend what of *problems* can be in one transaction, durable on return; what fails changes nothing.

        No quota is asked: what is brought back was in the store before.
        """
        kinds = {problem.kind for problem in problems}
        with self._engine.write(durable=True, frees=True) as tx, audit.lenient(tx.db):
            # Numbers first: the journal goes on from them, and rows know each other by the ids of sessions.
            done = mending_history.lost_sessions(tx.db)
            done += mending_trail.places(tx.db, self._quarantine.keep_row) if kinds & {"chain", "session"} else []
            done += mending_history.trails(tx.db)
            done += mending_trail.identities(tx.db, self._quarantine.keep_row)
            done += mending_history.tops(tx.db, self._quarantine.keep_row) if kinds & {"inode", "folder"} else []
            done += mending_trail.orders(tx.db, self._quarantine.keep_row) if "order" in kinds else []
            done += mending.counters(tx.db) + mending.sizes(tx.db) + mending.codecs(tx.db)
            done += self._history(tx, problems) if kinds & _HISTORY else []
            for needed, mend in self._table():
                done += mend(tx) if kinds & needed else []
            done += _derived(tx, kinds)
            done += self._tell(tx, done, problems)
            done += mending.next_sequences(tx.db)
            _recount(tx)
            self._quarantine.write_rows()
        return done

    def _history(self, tx: Transaction, problems: tuple[Problem, ...]) -> list[Done]:
        keep = self._quarantine.keep_row
        done = mending_history.readable(tx.db, keep)
        done += mend_homes(tx, problems) + mend_kinds(tx, problems, keep)
        done += mend_rows(tx, problems, keep)
        done += mend_session_rows(tx, problems, keep)
        done += mend_overlaps(tx, keep)
        done += mending_history.session_ends(tx.db)
        done += name_sessions(tx)
        done += self._lost_contents(tx)
        done += mend_lost_rows(tx, problems)
        return done + mending_history.drafts(tx.db)

    def _table(self) -> tuple[tuple[set[str], Callable[[Transaction], list[Done]]], ...]:
        keep = self._quarantine.keep_row
        own = mending.owner_of_this_process()
        return (
            ({"inode", "row", "session"}, lambda tx: mending.inodes(tx.db, tx.now_ns, *own, keep)),
            ({"folder", "cycle"}, mend_folders),
            ({"parent"}, mend_parents),
            ({"checkpoint"}, lambda tx: mending_history.checkpoints(tx.db, keep)),
            ({"checkpoint"}, lambda tx: mending_trail.checkpoints(tx.db, keep)),
            ({"loose-part", "state", "checkpoint"}, lambda tx: mending.spare_rows(tx.db, keep)),
        )

    def _lost_contents(self, tx: Transaction) -> list[Done]:
        """Make the content again of rows whose content is not in the index, as their event tells its hash."""
        done = []
        for eid, cid, line in mending_rows.lost_contents(tx.db):
            told = mending_rows.told_hash(line)
            digest = bytes.fromhex(told) if told is not None else b""
            if told is None or (cid is not None and evidence.inline(tx.db, cid) is not None):
                continue
            found = mending_rows.content_of(tx.db, told)
            if found is None and cid is not None and self._content.whole_hash(tx.db, cid) == digest:
                evidence.add_content(tx.db, cid, digest)
                found = cid
            if found is None:
                found = evidence.content_from_files(tx.db, str(self._engine.rooms.path), digest, self._backup)
            if found is not None:
                mending_rows.set_content(tx.db, eid, found)
                done.append(Done("content", f"row {eid} has the content {told} again", None))
        return done

    def _tell(self, tx: Transaction, done: list[Done], problems: tuple[Problem, ...]) -> list[Done]:
        """Write into the trail of each session that was changed what was done, and once that its chain is broken."""
        for sid in {thing.sid for thing in done if thing.sid is not None}:
            if sessions.load_any(tx.db, sid) is not None:
                kinds = Counter(thing.kind for thing in done if thing.sid == sid)
                tx.journal.append(sid, "session.repaired", None, mended=dict(kinds), kept=self._quarantine.name)
        told = []
        for problem in problems:
            if problem.kind == "chain" and not mending_rows.has_told(tx.db, problem.key):
                tx.journal.append(problem.key, "session.repaired", None, broken=problem.what[:200])
                told.append(Done("chain", f"{problem.where}: that its chain is broken stands in its trail now"))
        return told


def _derived(tx: Transaction, kinds: set[str]) -> list[Done]:
    """Make anew what is made of rows."""
    done: list[Done] = []
    if kinds & {"label", *_HISTORY}:
        mending.relabel(tx.db)
        done += [Done("label", "labels made anew")] if "label" in kinds else []
    if kinds & {"text", *_HISTORY}:
        mending.retext(tx.db)
        done += [Done("text", "the full text is made anew at the next search")] if "text" in kinds else []
    mending.quotas(tx.db)  # in any case: rows and contents may have changed that they have counted
    done += [Done("quota", "what quotas count is counted anew at the next change")] if "quota" in kinds else []
    return done


def _recount(tx: Transaction) -> None:
    """Bring the numbers of touched sessions into step with rows that were mended since."""
    for sid, tally in tx.journal.touched.items():
        tally.artifact_count, tally.total_size, least = mending.recounted(tx.db, sid)
        tally.next_sequence = max(tally.next_sequence, least)
