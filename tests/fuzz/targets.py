"""The fuzz targets: each door's parsers and writers, on a store that must be whole at the end."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from llmspellfs import Store, open_store
from llmspellfs.config import Config, load_config
from llmspellfs.errors import ConfigError, SpellError
from llmspellfs.lua.runtime import Script
from llmspellfs.model.anchors import parse_anchors
from tests.fuzz import forging, lua
from tests.fuzz.harness import Target
from tests.fuzz.strategies import dumped, inside, json_value, mutated, path, text
from tests.service.archives import export, members, packed, plain, take, zst
from tests.tree.trees import Walker, close

Call = Callable[[Any], object]
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def store_at(folder: Path) -> Iterator[Store]:
    """A store with something in it, which must be whole in the end."""
    with open_store(folder / "store", config=Config(max_sessions=200)) as store:
        session = store.sessions.create("desk", tags=["red"])
        store.artifacts.put(session.id, "f", b"content", custom={"key": "value"})
        store.artifacts.put(session.id, "d/g", b"more" * 100)
        store.sessions.save(session.id)
        yield store
        assert store.upkeep.fsck().problems == ()


@contextlib.contextmanager
def tree_at(folder: Path) -> Iterator[Walker]:
    with store_at(folder) as store:
        walker = Walker(store)
        yield walker
        walker.tree.destroy()


def each(*calls: Callable[[], object]) -> None:
    """Make every one of *calls*, and raise what the last refusal was."""
    last: Exception | None = None
    for call in calls:
        try:
            call()
        except (SpellError, OSError) as error:
            last = error
    if last is not None:
        raise last


@contextlib.contextmanager
def resolver(folder: Path) -> Iterator[Call]:
    with tree_at(folder) as walker:
        tree = walker.tree

        def call(example: tuple[str, str, int]) -> None:
            here, there, flags = example
            each(
                lambda: tree.attr(here), lambda: list(tree.listdir(here)), lambda: tree.readlink(here),
                lambda: tree.getxattr(here, "user.llmspell.id"), lambda: tree.listxattr(here),
                lambda: read(walker, here), lambda: close(walker.open(here, flags)),
                lambda: tree.truncate(here, 3, walker.caller), lambda: tree.mkdir(here, 0o755, walker.caller),
                lambda: tree.symlink(here, there, walker.caller), lambda: walker.write(here, b"x"),
                lambda: tree.rename(here, there, walker.caller), lambda: tree.chmod(there, 0o600, walker.caller),
                lambda: tree.unlink(there, walker.caller), lambda: tree.rmdir(there, walker.caller),
                lambda: tree.utimens(here, 1, 2, walker.caller),
            )  # fmt: skip

        yield call


def read(walker: Walker, where: str) -> None:
    handle = walker.open(where, os.O_RDONLY)
    with contextlib.closing(Releasing(handle.release)):
        handle.read_into(memoryview(bytearray(1000)), 0)
        handle.attr()


class Releasing:
    """Something to close."""

    def __init__(self, close: Callable[[], None]) -> None:
        self.close = close


WORDS = (
    "type:", "tag:", "name:", "size:", "created:", "updated:", "session:", "status:", "mime:", "meta.", "-", ">", "<",
    ">=", "..", ",", '"', "'", "\\", ":", "*", "?", "[", "]", "(", ")", "OR", "AND", "NOT", "NEAR", "10k", "2h", "7d",
    "2026-11-01", "active", "draft", "q4*", "user_input", " ", "  ", "a,b", "meta.author:jane", "1e400", "-1", "%2F",
)  # fmt: skip
query_text = st.lists(st.one_of(st.sampled_from(WORDS), text), max_size=10).map("".join)


@contextlib.contextmanager
def queries(folder: Path) -> Iterator[Call]:
    with tree_at(folder) as walker:
        store = walker.store
        yield lambda example: each(
            lambda: store.artifacts.query(example, limit=5),
            lambda: store.sessions.list(example),
            lambda: list(walker.tree.listdir(f"/search/{example.replace('/', '%2F')}")),
        )


CONTROL_FILES = (
    "status",
    "tags",
    "name",
    "description",
    "parent",
    "session.json",
    "artifacts/f.json",
    "artifacts/d/g.json",
)
KEYS = (
    "name", "description", "tags", "metadata", "status", "parent_session_id", "type", "mime_type", "custom", "version",
    "hash", "id", "size", "created_at",
)  # fmt: skip
document = st.dictionaries(st.one_of(st.sampled_from(KEYS), text), json_value, max_size=6)
control_content = st.one_of(
    st.binary(max_size=60), text.map(lambda t: t.encode("utf-8", "surrogatepass")), document.map(dumped),
    mutated(document.map(dumped)), st.sampled_from([b"[" * 5000, b'{"a":' * 3000, b"NaN", b"\xef\xbb\xbf{}", b"1e999"]),
)  # fmt: skip


@contextlib.contextmanager
def control_writers(folder: Path) -> Iterator[Call]:
    with tree_at(folder) as walker:

        def call(example: tuple[str, bytes, int]) -> None:
            name, content, flags = example
            where = f"/sessions/{walker.store.sessions.list()[0].dirname}/.session/{name}"
            handle = walker.open(where, os.O_WRONLY | flags)
            try:
                half = len(content) // 2
                handle.write(memoryview(content)[:half], 0)
                handle.write(memoryview(content)[half:], half)
                handle.flush()
            finally:
                handle.release()
            walker.read(where)

        yield call


XATTRS = ("user.", "user.llmspell.", "user.xdg.", "user.mime_type", "security.", "trusted.", "system.posix_acl_access")
XATTR_KEYS = (
    "type",
    "tags",
    "description",
    "status",
    "parent",
    "name",
    "id",
    "hash",
    "version",
    "key",
    "comment",
    "head",
)
xattr_name = st.one_of(
    st.tuples(st.sampled_from(XATTRS), st.one_of(st.sampled_from(XATTR_KEYS), text)).map("".join), text
)


@contextlib.contextmanager
def xattrs(folder: Path) -> Iterator[Call]:
    with tree_at(folder) as walker:
        tree = walker.tree

        def call(example: tuple[str, str, bytes, int]) -> None:
            where, name, value, flags = example

            def set_and_get() -> None:
                tree.setxattr(where, name, value, flags, walker.caller)
                tree.getxattr(where, name)

            each(
                set_and_get,
                lambda: tree.getxattr(where, name),
                lambda: [tree.getxattr(where, one) for one in tree.listxattr(where)],
                lambda: tree.removexattr(where, name, walker.caller),
            )

        yield call


SETTINGS = tuple(name for name in Config.__dataclass_fields__ if name != "source")
toml_value = st.one_of(
    st.integers().map(str), st.floats().map(str), st.booleans().map(lambda b: str(b).lower()),
    text.map(lambda t: '"' + t.replace("\\", "").replace('"', "") + '"'),
    st.sampled_from(['"10G"', '"99999999999T"', "[]", "{}", "[[]]", "1979-05-27", '"memory"', '["active"]']),
    st.sampled_from(['"30d"', "0x1", "nan", '"\\u0000"']),
)  # fmt: skip
toml_line = st.tuples(
    st.sampled_from([*SETTINGS, "name", "action", "older_than", "keep_last", "status", "x"]), toml_value
).map(" = ".join)
toml_table = st.sampled_from([
    "[runtime.sessions]", "[runtime]", "[runtime.sessions.retention]", "[[runtime.sessions.retention.rules]]", "[x]",
    "[runtime.sessions", "runtime = 1",
])  # fmt: skip
toml_text = st.lists(st.one_of(toml_line, toml_table), max_size=12).map(
    lambda lines: "[runtime.sessions]\n" + "\n".join(lines)
)


@contextlib.contextmanager
def configuration(folder: Path) -> Iterator[Call]:
    where = folder / "llmspell.toml"

    def call(example: bytes) -> None:
        where.write_bytes(example)
        try:
            load_config(where)
        except ConfigError as error:
            assert str(where) in error.message  # noqa: PT017 - and it is a refusal all the same
            raise

    yield call


Archive = tuple[str, list[tuple[int, int, bytes]], list[int]]


@contextlib.contextmanager
def archives(folder: Path) -> Iterator[Call]:
    """A sound archive with its members changed, moved, doubled or left out, or its bytes changed."""
    with store_at(folder) as source, open_store(folder / "target", config=Config()) as target:
        store = source
        store.artifacts.put("desk", "large", os.urandom(90_000))
        store.artifacts.put("desk", "f", b"another version")
        sound = {how: export(store, "desk", history=how) for how in (True, False)}

        def change(data: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
            for at, length, put in cuts:
                where = at % (len(data) + 1)
                data = data[:where] + put + data[where + length :]
            return data

        def call(example: Archive) -> None:
            how, cuts, order = example
            archive = sound[len(cuts) % 2 == 0]
            if how == "bytes":
                archive = change(archive, cuts)
            elif how == "tar":
                archive = zst(change(plain(archive), cuts))
            else:
                found = members(archive)
                for at, length, put in cuts:
                    name, data = found[at % len(found)]
                    if how == "names":
                        found[at % len(found)] = (name[: length % (len(name) + 1)] + put.decode("latin-1"), data)
                    else:
                        found[at % len(found)] = (name, change(data, [(at // 7, length, put)]))
                archive = packed([found[number % len(found)] for number in order] if order else found)
            before = names(target)
            try:
                take(target, archive)
            except SpellError:
                assert names(target) == before, "nothing of what is refused is imported"
                raise
            finally:
                for session in target.sessions.list():
                    target.sessions.purge(session.id)

        yield call
        assert target.upkeep.fsck().problems == ()


def names(store: Store) -> list[str]:
    return [session.id for session in store.sessions.list()]


cuts = st.lists(st.tuples(st.integers(0, 1 << 22), st.integers(0, 12), st.binary(max_size=8)), max_size=3)
archive_change: st.SearchStrategy[Archive] = st.tuples(
    st.sampled_from(["bytes", "tar", "names", "members", "members"]), cuts, st.lists(st.integers(0, 20), max_size=9)
)


@contextlib.contextmanager
def anchors(folder: Path) -> Iterator[Call]:
    with store_at(folder) as store:

        def call(example: bytes) -> None:
            lines = io.StringIO(example.decode("utf-8", "surrogateescape"))
            store.upkeep.verify(against=parse_anchors(lines, "anchors"))

        store.anchored = "".join(f"{line}\n" for line in store.upkeep.anchors().lines()).encode()  # type: ignore[attr-defined]
        yield lambda example: call(example.replace(b"ANCHORS", store.anchored))  # type: ignore[attr-defined]


anchor_text = mutated(st.lists(st.one_of(st.just(b"ANCHORS"), st.binary(max_size=30)), max_size=4).map(b"".join))


@contextlib.contextmanager
def trails(folder: Path) -> Iterator[Call]:
    """A line of the trail changed behind the store's back: verify, fsck, replay and listings say so, and end."""
    with open_store(folder / "harmed", config=Config()) as store:
        session = store.sessions.create("desk")
        script = Script(store, session=session.id, stdout=io.BytesIO())
        script.run_code(
            'local s = Session.getCurrent() Artifact.store(s, "tool_result", "a", "x") State.set("k", {1, 2})'
        )
        store.artifacts.put(session.id, "b", b"y")
        walker = Walker(store)
        with store.engine.index.read() as db:
            sound = [(row[0], row[1]) for row in db.execute("SELECT id, line FROM event ORDER BY id")]

        def call(example: tuple[int, list[tuple[int, int, bytes]]]) -> None:
            which, changes = example
            number, line = sound[which % len(sound)]
            data = line.encode()
            for at, length, put in changes:
                where = at % (len(data) + 1)
                data = data[:where] + put + data[where + length :]
            harmed = data.decode("utf-8", "replace")
            with store.engine.index.write() as db:
                db.execute("UPDATE event SET line = ? WHERE id = ?", (harmed, number))
            try:
                reports = store.upkeep.verify()
                assert harmed == line or any(report.problem for report in reports)
                assert harmed == line or not store.upkeep.fsck(quick=True).ok
                each(
                    lambda: store.replays.metadata("desk"), lambda: list(store.replays.steps("desk")),
                    lambda: store.sessions.events("desk"), lambda: walker.read("/sessions/desk/.session/events.jsonl"),
                )  # fmt: skip
            finally:
                with store.engine.index.write() as db:
                    db.execute("UPDATE event SET line = ? WHERE id = ?", (line, number))

        yield call
        walker.tree.destroy()
        assert store.upkeep.fsck().problems == ()


@contextlib.contextmanager
def lua_values(folder: Path) -> Iterator[Call]:
    """Values of any shape given to every function that takes one."""
    with store_at(folder) as store:

        def call(example: str) -> None:
            code = f'Session.setCurrent("desk") local v = {example}\n{lua.TAKERS}'
            Script(store, stdout=io.BytesIO()).run_code(code, "@fuzz.lua")

        yield call


@contextlib.contextmanager
def lua_programs(folder: Path) -> Iterator[Call]:
    """Programs in the sandbox, in a child of their own."""
    store = folder / "store"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(folder), "LLMSPELL_CONFIG": ""}
    open_store(store, config=Config()).close()

    def call(example: bytes) -> None:
        command = [
            sys.executable, "-m", "llmspellfs", "--store", str(store), "run", "--sandbox", "--timeout", "2",
            "--memory", "192M", "-",
        ]  # fmt: skip
        done = subprocess.run(command, input=example, env=environment, capture_output=True, timeout=60, check=False)
        assert b"Traceback" not in done.stderr, done.stderr
        assert b"unforeseen" not in done.stderr, done.stderr
        assert done.returncode in {0, 1, 2, 124, 137} or b"os.exit" in example, (done.returncode, done.stderr)

    yield call
    with open_store(store, config=Config()) as opened:
        assert opened.upkeep.fsck().problems == ()


PLACES = ("/sessions/desk", "/sessions/desk/f", "/sessions/desk/d", "/sessions/desk/.session/at/2/f", "/")
toml_bytes = st.one_of(
    toml_text.map(lambda t: t.encode("utf-8", "surrogatepass")),
    mutated(toml_text.map(lambda t: t.encode("utf-8", "replace"))),
    st.binary(max_size=80),
)
odd_flags = st.integers(0, 1 << 24)
hostile = st.one_of(inside, path)
TARGETS = (
    Target("path resolver", st.tuples(hostile, hostile, odd_flags), resolver),
    Target("query parser", query_text, queries, 200),
    Target(
        "control and sidecar writers",
        st.tuples(st.sampled_from(CONTROL_FILES), control_content, st.sampled_from([0, os.O_TRUNC, os.O_APPEND])),
        control_writers,
    ),
    Target(
        "xattrs",
        st.tuples(
            st.sampled_from(PLACES),
            xattr_name, st.one_of(st.binary(max_size=50), json_value.map(dumped)), st.integers(0, 3),
        ),
        xattrs,
    ),
    Target("llmspell.toml", toml_bytes, configuration, 200),
    Target("archive import", archive_change, archives, 80),
    Target("forged archives", forging.changes, forging.forgeries, 15),
    Target("anchors", anchor_text, anchors),
    Target("trails", st.tuples(st.integers(0, 50), cuts), trails, 80),
    Target("Lua values", lua.value, lua_values, 80),
    Target("Lua programs", lua.program, lua_programs, 6),
)  # fmt: skip
