"""Lineage: what was made from what, from what runs recorded, forks and moves; `store.runs.lineage`.

A run's artifact came from each that the run had read before it stored it. Artifacts count, not their versions: one
that a later run read and rewrote is in its own lineage, and a tree names it there once more without going on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from llmspellfs.model.artifact import ArtifactId
from llmspellfs.model.lineage import Branch, Lineage, Link, Named, Node
from llmspellfs.model.run import Run
from llmspellfs.model.session import Session
from llmspellfs.service.engine import Engine
from llmspellfs.service.paths import path_of
from llmspellfs.service.resolution import past_sequence
from llmspellfs.service.session_rules import find_place
from llmspellfs.storage import entries, journal, past, sessions
from llmspellfs.storage.index import Connection

MAX_NODES = 10_000
"""A tree stops growing at this many artifacts."""
MAX_LEVELS = 200
"""And at this many links from the root: it is shown, and told as JSON, level within level."""


def lineage(engine: Engine, text: str, runs: Iterable[Run]) -> Lineage:
    """Return the lineage of the artifact *text* (`SESSION:NAME` or an id); raise NotFound, InvalidValue."""
    with engine.index.snapshot() as db:
        session, ref = find_place(db, text)
        sequence = ArtifactId.parse(ref).sequence if ArtifactId.is_id(ref) else past_sequence(db, session, ref)
        graph = _Graph(db, runs)
        node = session.id, sequence
        made_from = _grown(node, graph.sources, lambda link: link.source)
        made_into = _grown(node, graph.products, lambda link: link.made)
        found = Lineage(node, {}, made_from, made_into)
        nodes = {node} | {end for link in found.links() for end in (link.source, link.made)}
        return Lineage(node, {one: graph.named(one) for one in nodes}, made_from, made_into)


def _grown(root: Node, links_of: Callable[[Node], list[Link]], end_of: Callable[[Link], Node]) -> tuple[Branch, ...]:
    """Return the tree that *links_of* makes beyond *root*, level by level, each artifact expanded once."""
    seen, levels = {root}, [[root]]
    found: dict[Node, list[tuple[Link, Node, bool]]] = {}
    links = 0
    while levels[-1] and len(levels) <= MAX_LEVELS and len(seen) < MAX_NODES and links < MAX_NODES:
        following = []
        for node in levels[-1]:
            found[node] = []
            if links >= MAX_NODES:
                continue
            for link in links_of(node):
                end = end_of(link)
                links += 1
                found[node].append((link, end, end in seen))
                if end not in seen:
                    seen.add(end)
                    following.append(end)
        levels.append(following)
    branches: dict[Node, tuple[Branch, ...]] = {}
    for node in (node for level in reversed(levels) for node in level):
        branches[node] = tuple(
            Branch(link, end, () if again else branches.get(end, ()), again) for link, end, again in found.get(node, ())
        )
    return branches[root]


class _Graph:
    """The links of a store, looked up as they are asked for, within one view of it."""

    def __init__(self, db: Connection, runs: Iterable[Run]) -> None:
        self._db = db
        self._makers: dict[Node, list[Run]] = {}
        self._readers: dict[Node, list[Run]] = {}
        self._sessions: dict[str, Session | None] = {}
        for run in runs:
            for node in dict.fromkeys(one.key for one in run.made):
                self._makers.setdefault(node, []).append(run)
            for node in dict.fromkeys(one.key for one in run.read):
                self._readers.setdefault(node, []).append(run)

    def sources(self, node: Node) -> list[Link]:
        """Return the links that lead to *node*."""
        return _each_once([*self._made_by_runs(node), *self._forked_from(node), *self._moves(node, "moved_in")])

    def products(self, node: Node) -> list[Link]:
        """Return the links that lead from *node*."""
        return _each_once([*self._read_by_runs(node), *self._forked_into(node), *self._moves(node, "moved_out")])

    def named(self, node: Node) -> Named:
        """Return what *node* is called, or was last."""
        session = self._session(node[0])
        if session is None:
            return Named(node[0][:8], f"#{node[1]}", is_live=False)
        rows = entries.rows_of_sequence(self._db, session.sid, node[1])
        if not rows:
            return Named(session.dirname, f"#{node[1]}", is_live=False)
        path = path_of(self._db, session.ino, rows[-1].folder, rows[-1].name)
        return Named(session.dirname, path, session.deleted_ns is None and rows[-1].seq_to is None)

    def _session(self, session_id: str) -> Session | None:
        if session_id not in self._sessions:
            self._sessions[session_id] = sessions.by_id(self._db, session_id, deleted=True)
        return self._sessions[session_id]

    def _made_by_runs(self, node: Node) -> list[Link]:
        return [
            Link(source.key, node, "run", run.started_ns, run.script, run.id, run.finished_ns is None)
            for run in self._makers.get(node, ())
            for made in run.made
            if made.key == node
            for source in run.read[: made.after]
            if (source.key, source.version) != (node, made.version)
        ]

    def _read_by_runs(self, node: Node) -> list[Link]:
        return [
            Link(node, made.key, "run", run.started_ns, run.script, run.id, run.finished_ns is None)
            for run in self._readers.get(node, ())
            for index, source in enumerate(run.read)
            if source.key == node
            for made in run.made
            if made.after > index and (made.key, made.version) != (node, source.version)
        ]

    def _moves(self, node: Node, verb: str) -> list[Link]:
        return self._moves_of(node[0], verb).get(node, [])

    @cache  # noqa: B019  a graph lives for one question
    def _moves_of(self, session_id: str, verb: str) -> dict[Node, list[Link]]:
        """Return the links of moves into or out of a session, by the artifact that came or went."""
        found: dict[Node, list[Link]] = {}
        session = self._session(session_id)
        events = [] if session is None else journal.events(self._db, session.sid, kinds=(f"artifact.{verb}",))
        for event in events:
            other = "from" if verb == "moved_in" else "to"
            here = session_id, event.told(int, "sequence")
            there = event.told(str, other, "session"), event.told(int, other, "sequence")
            ends = (there, here) if verb == "moved_in" else (here, there)
            found.setdefault(here, []).append(Link(ends[0], ends[1], "moved", event.at_ns))
        return found

    def _forked_from(self, node: Node) -> list[Link]:
        return [link for link in self._fork_of(node[0]) if link.made == node]

    def _forked_into(self, node: Node) -> list[Link]:
        links = (link for child in self._children(node[0]) for link in self._fork_of(child))
        return [link for link in links if link.source == node]

    @cache  # noqa: B019
    def _children(self, session_id: str) -> tuple[str, ...]:
        return tuple(child.id for child in sessions.children(self._db, session_id))

    @cache  # noqa: B019
    def _fork_of(self, session_id: str) -> tuple[Link, ...]:
        """Return the links from another session's artifacts to those that are copies of them, where it is a fork.

        Both are in the order of their sequences.
        """
        fork = self._session(session_id)
        told = [] if fork is None else journal.events(self._db, fork.sid, kinds=("session.forked",), limit=1)
        if fork is None or not told:
            return ()
        origin, seq = self._session(told[0].told(str, "from", "session")), told[0].told(int, "from", "seq")
        stored = journal.events(self._db, fork.sid, kinds=("artifact.stored",), limit=told[0].seq)
        copies = [(fork.id, event.told(int, "sequence")) for event in stored if event.seq < told[0].seq]
        sources = [] if origin is None else [(origin.id, one) for one in past.sequences_at(self._db, origin.sid, seq)]
        if len(sources) != len(copies):  # history has lost some since
            return ()
        pairs = zip(sources, copies, strict=True)
        return tuple(Link(source, copy, "forked", told[0].at_ns) for source, copy in pairs)


def _each_once(links: list[Link]) -> list[Link]:
    return sorted(dict.fromkeys(links), key=lambda link: (link.at_ns, link.source, link.made))
