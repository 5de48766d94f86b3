"""What was made from what: artifacts, links between them, and the links seen from one of them as two trees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from llmspellfs.model.run import UNFINISHED
from llmspellfs.model.times import iso

Node: TypeAlias = "tuple[str, int]"
"""An artifact, whichever of its versions: its session's id and its sequence there."""


@dataclass(frozen=True, slots=True)
class Link:
    """*made* came from *source*: by a run of a script that had read it, by a fork, or by a move to another session."""

    source: Node
    made: Node
    how: str
    """`run`, `forked` or `moved`."""
    at_ns: int
    script: str | None = None
    run: str | None = None
    is_unfinished: bool = False
    """Whether the run has no end in the trail: it goes on, or its process was killed."""

    @property
    def label(self) -> str:
        """Say it in a word or two."""
        return f"{self.script or self.how}{f', {UNFINISHED}' if self.is_unfinished else ''}"


@dataclass(frozen=True, slots=True)
class Named:
    """What people call an artifact: its session's directory name and its own, and whether it is there now."""

    session: str
    name: str
    is_live: bool

    def __str__(self) -> str:
        """Return `SESSION:NAME`, marked where it is gone."""
        return f"{self.session}:{self.name}{'' if self.is_live else ' (gone)'}"


@dataclass(frozen=True, slots=True)
class Branch:
    """One link of a tree, and what is beyond it; *is_again* where that stands elsewhere in the tree already."""

    link: Link
    node: Node
    branches: tuple[Branch, ...]
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class Lineage:
    """The two trees of the artifact *node*: what it was made from, and what was made of it."""

    node: Node
    names: Mapping[Node, Named]
    made_from: tuple[Branch, ...]
    made_into: tuple[Branch, ...]

    def links(self) -> Iterator[Link]:
        """Yield every link of both trees, each once."""
        seen = dict.fromkeys(link for tree in (self.made_from, self.made_into) for link in _links(tree))
        return iter(seen)

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            **self._shown(self.node), "made_from": self._tree(self.made_from, "made_from"),
            "made_into": self._tree(self.made_into, "made_into"),
        }  # fmt: skip

    def _tree(self, branches: tuple[Branch, ...], side: str) -> list[dict[str, Any]]:
        return [
            {
                **self._shown(branch.node), "how": branch.link.how, "at": iso(branch.link.at_ns),
                "script": branch.link.script, "run": branch.link.run,
                **({"unfinished": True} if branch.link.is_unfinished else {}),
                **({"again": True} if branch.is_again else {side: self._tree(branch.branches, side)}),
            }
            for branch in branches
        ]  # fmt: skip

    def _shown(self, node: Node) -> dict[str, Any]:
        named = self.names[node]
        return {
            "session_id": node[0], "session": named.session, "sequence": node[1], "name": named.name,
            "live": named.is_live,
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        """Yield the lines of both trees for people."""
        yield str(self.names[self.node])
        for title, branches in (("made from", self.made_from), ("made into", self.made_into)):
            if branches:
                yield f"{title}:"
                yield from self._drawn(branches, "  ")

    def _drawn(self, branches: tuple[Branch, ...], indent: str) -> Iterator[str]:
        for branch in branches:
            again = " …" if branch.is_again else ""
            yield f"{indent}{self.names[branch.node]}  ({branch.link.label}, {iso(branch.link.at_ns)[:19]}Z){again}"
            yield from self._drawn(branch.branches, indent + "  ")

    def dot(self) -> Iterator[str]:
        """Yield the lines of a graph in Graphviz's language (https://graphviz.org/doc/info/lang.html)."""
        yield "digraph lineage {"
        yield "  rankdir = LR; node [shape = box];"
        links = list(self.links())
        nodes = dict.fromkeys([self.node, *(node for link in links for node in (link.source, link.made))])
        for node in nodes:
            style = ", style = bold" if node == self.node else "" if self.names[node].is_live else ", style = dashed"
            label = f"{self.names[node].session}:{self.names[node].name}"
            yield f"  {_quoted(_id(node))} [label = {_quoted(label)}{style}];"
        for link in links:
            yield f"  {_quoted(_id(link.source))} -> {_quoted(_id(link.made))} [label = {_quoted(link.label)}];"
        yield "}"


def _links(branches: tuple[Branch, ...]) -> Iterator[Link]:
    for branch in branches:
        yield branch.link
        yield from _links(branch.branches)


def _id(node: Node) -> str:
    return f"{node[0]}/{node[1]}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
