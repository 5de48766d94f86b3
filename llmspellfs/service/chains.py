"""Verifying audit chains: each line against the one before it, the last against the head, all against anchors.

A chain by itself shows that no line was altered, dropped or moved; who can rewrite the index can rewrite a whole chain,
or cut its end and the head with it. That shows against anchors, the heads as they were, kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from llmspellfs.errors import InvalidValue
from llmspellfs.model.anchors import Anchor, Anchors
from llmspellfs.model.event import read_line
from llmspellfs.service.chain import Chain
from llmspellfs.storage import audit, figures
from llmspellfs.storage.index import Connection

Lines: TypeAlias = Iterator[audit.Line]


@dataclass(frozen=True, slots=True)
class ChainReport:
    """One session's audit chain: how many *events*, its *head*, and the first *problem*, or None."""

    session_id: str
    dirname: str
    events: int
    head: str
    problem: str | None


def verify(db: Connection, sid: int | None = None, against: Anchors | None = None) -> list[ChainReport]:
    """Check the chain of session *sid*, or of all, purged ones too, and hold them to the anchors *against*.

    A session that the anchors have and the store has not is reported too, unless *sid* is another's. Raises
    InvalidValue where they are another store's.
    """
    if against is not None and against.store != (own := figures.store_uuid(db)):
        raise InvalidValue("anchors", f"of the store {against.store}, and this one is {own}")
    heads = {} if against is None else {anchor.session_id: anchor for anchor in against.heads}
    reports = [verify_chain(db, chain, heads.pop(chain.id, None)) for chain in audit.chains(db, sid)]
    if sid is None:
        reports += [_gone(anchor) for anchor in heads.values()]
    return reports


def anchors(db: Connection, now_ns: int) -> Anchors:
    """Return the heads of all chains, purged sessions' too, as they are at *now_ns*."""
    heads = tuple(Anchor(chain.id, chain.seq, chain.head) for chain in audit.chains(db))
    return Anchors(figures.store_uuid(db), now_ns, heads)


def verify_chain(
    db: Connection, chain: audit.Chain, anchor: Anchor | None = None, through: Callable[[Lines], Lines] = iter
) -> ChainReport:
    """Check *chain*, and that it has the *anchor*'s line; its lines are read *through* what counts them."""
    way, problem = Chain(), None
    for line in through(audit.lines(db, chain.sid)):
        found = next(way.breaks(line, read_line(line.text)), None)
        seq, problem = way.seq + 1, None if found is None else found.problem
        way.pass_by(line)
        if problem is None and anchor is not None and seq == anchor.seq and way.prev != anchor.head:
            problem = "not the one that the anchor names; the chain was rewritten at it or before"
        if problem is not None:
            return ChainReport(chain.id, chain.dirname, seq, chain.head, f"event {seq}: {problem}")
    if way.seq != chain.seq:
        problem = f"event {way.seq + 1}: missing; the session counts {chain.seq}"
    elif anchor is not None and way.seq < anchor.seq:
        problem = f"event {way.seq + 1}: missing; the anchor counts {anchor.seq}"
    elif way.prev != chain.head:
        problem = f"event {way.seq}: altered; its hash is not the session's head"
    return ChainReport(chain.id, chain.dirname, way.seq, chain.head, problem)


def _gone(anchor: Anchor) -> ChainReport:
    problem = f"event 1: missing; the anchor counts {anchor.seq}, and there is no such session"
    return ChainReport(anchor.session_id, anchor.session_id, 0, "", problem)
