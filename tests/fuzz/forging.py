"""Archives in which something was changed and every hash fits again: refused, or good for every reader of a door."""

from __future__ import annotations

import contextlib
import io
import itertools
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from hypothesis import strategies as st

from llmspellfs import Store, open_store
from llmspellfs.cli import main
from llmspellfs.config import Config
from llmspellfs.errors import SpellError
from llmspellfs.lua.runtime import Script
from llmspellfs.model.session import Status
from tests.fuzz.strategies import json_value, text
from tests.service.archives import Forged, Records, export, forged, take
from tests.tree.trees import Walker

Change = tuple[str, int, int, Any]
PARTS = ("session", "events", "events", "rows", "inodes", "entries", "entries", "checkpoints")
LEFT_OUT, DOUBLED, OTHERS = "<left out>", "<doubled>", "<another's>"
EDGES = (
    -(1 << 63), -(1 << 61), -1, 0, 1, 2, 3, 7, 1 << 31, 1 << 48, 1 << 53, 1 << 61, (1 << 63) - 2, (1 << 63) - 1,
)  # fmt: skip
WORDS = (
    "", ".", "..", "a", ".session", "desk", "x/y", "[]", "{}", "active", "failed", "artifact.deleted", "\u202e\x9b31m",
    "2262-04-11T23:47:16.854775Z", "0001-01-01T00:00:00.000000Z", "\x1b]0;x\x07",
)  # fmt: skip
KEYS = ("actor", "door", "name", "sequence", "version", "from", "to", "from_sequence", "fields", "hash", "run", "of")
FREE = {
    "session": ("next_sequence", "created_ns", "created_by", "last_ns", "horizon_seq", "ino"),
    "events": KEYS,
    "rows": ("name", "description", "failure_reason", "ended_ns", "parent", "tags", "metadata", "status"),
    "inodes": ("mode", "uid", "mtime_ns", "ctime_ns", "atime_ns", "ino"),
    "entries": (
        "version",
        "sequence",
        "created_ns",
        "updated_ns",
        "description",
        "mime_type",
        "name",
        "type",
        "target",
    ),
    "checkpoints": ("number", "label", "at_ns"),
}
"""Fields of each part that can be other than they are without anything else being wrong."""
edge = st.sampled_from(EDGES)
value = st.one_of(
    edge, st.sampled_from(WORDS), st.sampled_from([LEFT_OUT, DOUBLED, OTHERS]), st.none(), text, json_value,
    st.fixed_dictionaries({"session": st.sampled_from(WORDS), "sequence": edge}),
)  # fmt: skip
anything = st.tuples(
    st.sampled_from(PARTS), st.integers(0, 30), st.one_of(st.integers(0, 30), st.sampled_from(KEYS)), value
)
likely = st.sampled_from([(part, key) for part, keys in FREE.items() for key in keys]).flatmap(
    lambda one: st.tuples(
        st.just(one[0]), st.integers(0, 30), st.just(one[1]), st.one_of(edge, st.sampled_from([LEFT_OUT, *WORDS]))
    )
)
changes = st.lists(st.one_of(likely, likely, anything), min_size=1, max_size=2)
DEPTH, MOST = 7, 400
"""How far a walk goes down, and how much it looks at."""


def make(records: Records, which: int, key: Any, new: Any) -> None:
    """Change one field of one of *records*, or that one as a whole."""
    if not records:
        return
    record = records[which % len(records)]
    if isinstance(key, int):
        key = sorted(record)[key % len(record)]
    if new == LEFT_OUT:
        record.pop(key, None)
    elif new == DOUBLED:
        records.append(dict(record))
    elif new == OTHERS:
        record[key] = records[(which + 1) % len(records)].get(key)
    else:
        record[key] = new


def fill(store: Store) -> None:
    """Make a session in which most kinds of events are."""
    store.sessions.create("desk", tags=["red"], metadata={"k": 1})
    store.sessions.create("other")
    store.artifacts.put("desk", "f", b"one", custom={"key": "value"}, tags=["t"])
    store.artifacts.put("desk", "f", b"two")
    store.artifacts.put("desk", "d/g", b"more" * 100)
    store.sessions.save("desk", label="first")
    tree = Walker(store)
    tree.tree.symlink("/sessions/desk/l", "f", tree.caller)
    tree.write("/sessions/other/here", b"moved")
    tree.tree.rename("/sessions/other/here", "/sessions/desk/there", tree.caller)
    tree.write("/sessions/desk/gone", b"moved too")
    tree.tree.rename("/sessions/desk/gone", "/sessions/other/gone", tree.caller)
    tree.tree.destroy()
    store.artifacts.put("desk", "h", b"h")
    store.artifacts.delete("desk", "h")
    Script(store, session="desk", stdout=io.BytesIO(), record=True).run_code(
        'Artifact.store(Session.getCurrent(), "tool_result", "made", "x")', "@made.lua"
    )
    store.sessions.save("desk")


@contextlib.contextmanager
def forgeries(folder: Path) -> Iterator[Callable[[Any], object]]:
    """Sessions changed in an archive and taken in; what comes in is read, written and erased."""
    with open_store(None, config=Config(), backend="memory") as source:
        fill(source)
        source.past.fork("desk", "fork")
        sound = [export(source, name) for name in ("desk", "fork")]
    numbers, target = itertools.count(), folder / "target"

    def call(example: list[Change]) -> None:
        name = f"fuzzed{next(numbers)}"
        with open_store(target, config=Config()) as store:
            subscriber = Script(store, stdout=io.BytesIO())
            subscriber.run_code('sub = Event.subscribe("*")')

            def change(f: Forged) -> None:
                f.session["id"] = str(uuid.uuid4())
                for row in f.rows:
                    row["dirname"] = name
                for part, which, key, new in example:
                    records = [f.session] if part == "session" else getattr(f, part)
                    make(records, which, key, new)

            before = len(store.sessions.list())
            try:
                found = take(store, forge(sound[len(example) % 2], change)).sessions[0]
            except SpellError:
                assert len(store.sessions.list()) == before, "nothing of what is refused is imported"
                raise
            assert store.upkeep.verify(found.id)[0].problem is None
            read(store, found.dirname)
            hear(subscriber)
            change_more(store, found.dirname)
            look(store, found.dirname)
            assert store.upkeep.fsck().problems == ()
            store.sessions.purge(found.id)

    yield call


def forge(archive: bytes, change: Callable[[Forged], object]) -> bytes:
    """Return *archive* after *change*; what cannot be written as an archive at all is refused as nothing."""
    try:
        return forged(archive, change)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return b""


def allowed(call: Callable[[], object]) -> None:
    """Make *call*, which may be refused as a door refuses."""
    with contextlib.suppress(SpellError, OSError):
        call()


def read(store: Store, name: str) -> None:
    """Read all that a session shows: by the mount, a script, and the command."""
    look(store, name)
    printed = io.BytesIO()
    Script(store, stdout=printed).run_code(READING.replace("NAME", name), "@reading.lua")
    assert b"internal error" not in printed.getvalue(), printed.getvalue()
    assert b"unforeseen" not in printed.getvalue(), printed.getvalue()
    for words in COMMANDS:
        command(store, *(word.replace("NAME", name) for word in words.split()))


def look(store: Store, name: str) -> None:
    """Read all that a session shows on the mount."""
    walker = Walker(store)
    walk(walker, f"/sessions/{name}", itertools.count())
    walk(walker, f"/sessions/{name}/.session", itertools.count())
    walker.tree.destroy()


def walk(walker: Walker, path: str, seen: Iterator[int], depth: int = 0) -> None:
    """Look at everything below *path*, as `find -exec cat` and `getfattr` do."""
    tree = walker.tree
    if next(seen) > MOST or depth > DEPTH:
        return
    try:
        attr = tree.attr(path)
    except (SpellError, OSError):
        return
    for key in tree.listxattr(path):
        allowed(lambda: tree.getxattr(path, key))  # noqa: B023
    if stat.S_ISDIR(attr.mode):
        names = []
        allowed(lambda: names.extend(walker.names(path)))
        for name in [*names, *(CONTROL if path.endswith("/.session") else ())]:
            if name not in {".", ".."}:
                walk(walker, f"{path}/{name}", seen, depth + 1)
    else:
        allowed(lambda: tree.readlink(path) if stat.S_ISLNK(attr.mode) else walker.read(path))


CONTROL = ("at/1", "at/3", "at/2262-04-11")
READING = """
local s = Session.get("NAME")
local function try(what, call, ...)
    local ok, why = pcall(call, ...)
    if not ok then print(what, why.message or why) end
    return ok and why or nil
end
try("events", Session.events, s)
try("checkpoints", Session.checkpoints, s)
try("list", Session.list)
for _, a in ipairs(try("artifacts", Artifact.list, s) or {}) do
    try("get", Artifact.get, s, a.name)
    try("history", Artifact.history, s, a.name)
end
try("replay", Session.replay, s, {mode = "simulate"})
"""
COMMANDS = (
    "session list", "session show NAME", "session events NAME", "--json session events NAME", "session timeline NAME",
    "session checkpoints NAME", "session diff NAME@1", "session replay NAME --mode exact --name replay",
    "artifact list NAME", "artifact history NAME:f", "artifact show NAME:f", "artifact lineage NAME:f",
    "artifact lineage NAME:there", "find key", "find tag:t", "stats", "verify NAME", "export NAME -",
    "session purge --yes replay",
)  # fmt: skip


def command(store: Store, *words: str) -> None:
    done = CliRunner().invoke(main, ["--store", str(store.path), *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), (words, repr(done.exception))
    assert "unforeseen" not in done.output, (words, done.output)
    assert done.exit_code != 2, (words, done.output)


def hear(subscriber: Script) -> None:
    subscriber.run_code("while Event.receive(sub, 1) do end")


def change_more(store: Store, name: str) -> None:
    """Do twice what takes a new number each."""
    for content in (b"a", b"b"):
        allowed(lambda: store.sessions.set_status(name, Status.ACTIVE))
        for path in ("f", "d/g", f"new {content!r}"):
            allowed(lambda: store.artifacts.put(name, path, content))  # noqa: B023
        allowed(lambda: store.artifacts.delete(name, "f"))
        allowed(lambda: store.artifacts.restore(name, "f"))
        allowed(lambda: store.sessions.save(name))
        allowed(lambda: store.past.rollback(f"{name}@2"))
    allowed(lambda: store.sessions.delete(store.past.fork(name, f"{name} fork").id))
    allowed(lambda: store.sessions.complete(name))
    allowed(lambda: store.sessions.delete(name))
    store.sessions.create("fresh")
    store.sessions.purge("fresh")
    allowed(lambda: store.sessions.restore(name))
