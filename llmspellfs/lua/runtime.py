"""One script and its Lua runtime: what it is given, how it is started, and how it ends.

Lua 5.4 with strings as bytes. No Python object is within a script's reach: the runtime has no eval, no
builtins and no attribute access, `python` is removed, and the host's functions stand behind Lua functions
whose upvalues `debug` does not show. A `Script` belongs to one thread. It starts no process and keeps no
time; limits on a script's time and memory are not its matter.
"""

from __future__ import annotations

import os
import weakref
from importlib.resources import files
from typing import IO, TYPE_CHECKING, Any, NoReturn, Protocol

from lupa import lua54

from llmspellfs.errors import ScriptFailed
from llmspellfs.lua.artifacts import ArtifactFunctions
from llmspellfs.lua.batches import ArtifactBatch, SessionBatch
from llmspellfs.lua.builder import BuilderFunctions
from llmspellfs.lua.context import Context
from llmspellfs.lua.errors import Answers, Leave
from llmspellfs.lua.events import EventFunctions
from llmspellfs.lua.history import HistoryFunctions
from llmspellfs.lua.hooks import DEPTH, HookFunctions
from llmspellfs.lua.jsontext import JsonFunctions
from llmspellfs.lua.output import Output
from llmspellfs.lua.recording import Modules, recorded
from llmspellfs.lua.replaying import ReplayFunctions, run_in_child
from llmspellfs.lua.sessions import SessionFunctions
from llmspellfs.lua.states import StateFunctions
from llmspellfs.lua.tools import ToolFunctions
from llmspellfs.lua.values import Marks, Raw, Values, decode, encode
from llmspellfs.service.state import TRIES
from llmspellfs.tools.registry import Registry
from llmspellfs.tools.worker import MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from llmspellfs.lua.limits import Bounds
    from llmspellfs.service.store import Store

_CHUNK = b"=[llmspellfs]"
_FILES = ("tables", "strings", "guard", "prelude", "batches")


class _Functions(Protocol):
    ABSENT: frozenset[str]

    def table(self) -> dict[str, Callable[..., object]]: ...


class Script:
    """A Lua runtime with the API on one store; globals that a run leaves behind are there in the next."""

    def __init__(
        self,
        store: Store,
        *,
        session: str | None = None,
        args: Sequence[str] = (),
        stdout: IO[Any] | None = None,
        record: bool = False,
        bounds: Bounds | None = None,
        mounts: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        """Give scripts the *store*, *session* as the current one, *args* as their arguments.

        What they print goes to *stdout*, a stream of bytes or text; None is this process's standard output. With
        *record* each run leaves its record in the sessions that it changes (see `service.records`). With *bounds* the
        script is one that is not trusted: it has what `sandbox.lua` leaves, and no more memory; what of the store is
        within its reach, and its time, are for the caller to bound (`service.confined`, `limits`).
        *mounts* gives the mount points where the store is mounted now, for `Session.path`.
        Raises NotFound or InvalidValue where *session* names none or several.
        """
        current = None if session is None else store.sessions.get(session).id
        self._args = [_os_bytes(arg) for arg in args]
        self._record, self._modules = record, Modules()
        self._output = Output(stdout)
        self._answers = Answers()
        self._lua = _new_runtime(bounded=bounds is not None)
        self._host = self._lua.table()
        for name in _FILES:
            self._load(name, self._host)
        if bounds is not None:
            bound = _Bound(self._lua)
            self._load("bounded", self._host, self._answers.plain(bound.hold), self._answers.plain(bound.release))
        self._values = Values(self._lua, Marks(*(self._host[name.encode()] for name in Marks._fields)))
        self._context = Context(store, self._values, current, mounts)
        registry = Registry() if bounds is None else Registry(installed=False, memory=min(MEMORY, bounds.memory))
        self._install(self._values, self._context, registry)
        self._install_replay(ReplayFunctions(self._context, run_in_child if bounds is None else None))
        self._install_callbacks(self._context)
        if record:
            self._load("recording", self._host[b"checked"](self._answers.of(self._modules.tell)))
        if bounds is not None:
            self._load("sandbox", self._host)
            bound.most = self._lua.get_memory_used() + bounds.memory
        weakref.finalize(self, _end, self._host[b"over"], self._answers)

    def run_file(self, path: str | os.PathLike[str]) -> int:
        """Run the script in the file *path* and return its exit status; raise as `run_code`, or OSError."""
        with open(path, "rb") as file:
            code = file.read()
        name = _os_bytes(path)
        self._search_beside(name)
        return self._run(_without_first_line(code), b"@" + name, name)

    def run_code(self, code: str | bytes, name: str = "=(-e)") -> int:
        """Run *code* and return its exit status: 0, or what it gave to os.exit.

        *name* is how Lua names the code in messages: after "=" as it stands, after "@" as a file. Raises
        ScriptFailed with the message of an error that the script did not catch; its `traceback` is Lua's.
        """
        raw = encode(code) if isinstance(code, str) else code
        chunk = encode(name)
        return self._run(_without_first_line(raw), chunk, chunk.lstrip(b"@="))

    def _run(self, code: bytes, chunk: bytes, shown: bytes) -> int:
        with self._context.at_work():
            return self._run_recorded(code, chunk, shown) if self._record else self._execute(code, chunk, shown)

    def _run_recorded(self, code: bytes, chunk: bytes, shown: bytes) -> int:
        with recorded(self._context, code, decode(shown), [decode(arg) for arg in self._args], self._modules) as run:
            run.status = self._execute(code, chunk, shown)
            return run.status

    def _execute(self, code: bytes, chunk: bytes, shown: bytes) -> int:
        self._answers.ended = None
        self._lua.globals()[b"arg"] = self._lua.table_from({0: shown, **dict(enumerate(self._args, 1))})
        try:
            answer = self._host[b"run"](code, chunk, *self._args)
        except lua54.LuaError as error:
            _fail(str(error).encode(), b"")
        finally:
            self._output.flush()
        return self._status(answer)

    def _status(self, answer: Raw) -> int:
        # A signal may have raised between a function's answer and Lua: then Lua hands the exception back.
        ended = self._answers.ended or next((one for one in _several(answer) if isinstance(one, BaseException)), None)
        if isinstance(ended, Leave):
            return ended.code & 0xFF
        if ended is not None:
            raise ended
        if answer is not True:
            _fail(answer[1], answer[2])
        return 0

    def _search_beside(self, name: bytes) -> None:
        """Have `require` look for modules beside the script first, but where its folder has no form in a path."""
        package, folder = self._lua.globals()[b"package"], os.path.dirname(name) or b"."
        if package is None or folder == b"." or any(sign in folder for sign in b";?!"):
            return
        beside = b"%b/?.lua;%b/?/init.lua;" % (folder, folder)
        if not package[b"path"].startswith(beside):
            package[b"path"] = beside + package[b"path"]

    def _install(self, values: Values, context: Context, registry: Registry) -> None:
        scope, json = self._lua.globals(), JsonFunctions(values)
        many = ArtifactBatch(context, self._host[b"count"], self._host[b"rows"])
        for name, parts in (
            (b"Session", (SessionFunctions(context), HistoryFunctions(context), SessionBatch(context))),
            (b"Artifact", (ArtifactFunctions(context), many)),
            (b"JSON", (json,)), (b"Tool", (ToolFunctions(values, registry),)),
        ):  # fmt: skip
            scope[name] = self._module(name, *parts)
        scope[b"JSON"][b"null"] = self._host[b"null"]
        scope[b"json"] = scope[b"JSON"]
        builder = {name.encode(): self._answers.of(f) for name, f in BuilderFunctions(context).inner().items()}
        self._load("builder", self._host, scope[b"Session"], self._lua.table_from(builder))
        own = (self._output.write, self._output.flush, _leave)
        self._load("output", self._host, *(self._answers.of(function) for function in own))

    def _install_replay(self, replay: ReplayFunctions) -> None:
        scope = self._lua.globals()
        lineage = {name.encode(): self._answers.of(f) for name, f in replay.of_artifacts().items()}
        inner = {name.encode(): self._answers.of(f) for name, f in replay.inner().items()}
        tables = (
            self._module(b"Session", replay),
            self._host[b"module"](self._lua.table_from(lineage), b"Artifact"),
            self._lua.table_from(inner),
        )
        self._load("replaying", self._host, scope[b"Session"], scope[b"Artifact"], *tables)

    def _install_callbacks(self, context: Context) -> None:
        # Last: hooks go around what is there.
        scope = self._lua.globals()
        states, events, hooks = StateFunctions(context), EventFunctions(context), HookFunctions(context)
        scope[b"State"], scope[b"Event"] = self._module(b"State", states), self._module(b"Event", events)
        scope[b"Hook"] = self._lua.table()
        modules = {name: scope[name] for name in (b"State", b"Event", b"Hook", b"Session", b"Artifact")}
        inner = {**states.inner(), **events.inner(), **hooks.inner()}
        answers = {name.encode(): self._answers.of(function) for name, function in inner.items()}
        tables = (self._lua.table_from(modules), self._lua.table_from(answers), hooks.makes())
        self._load("callbacks", self._host, *tables, TRIES, DEPTH)

    def _module(self, name: bytes, *parts: _Functions) -> Raw:
        answers = {
            short.encode(): self._answers.of(function, absent=short in functions.ABSENT)
            for functions in parts
            for short, function in functions.table().items()
        }
        return self._host[b"module"](self._lua.table_from(answers), name)

    def _load(self, name: str, *arguments: object) -> None:
        code = files("llmspellfs.lua").joinpath(f"{name}.lua").read_bytes()
        self._lua.execute(code, *arguments, name=_CHUNK)


class _Bound:
    """The memory that a script's own code may have: *most* bytes of *lua*'s."""

    def __init__(self, lua: Raw) -> None:
        self._set, self.most = lua.set_max_memory, 0

    def hold(self) -> None:
        """Have it hold."""
        self._set(self.most)

    def release(self) -> None:
        """Let the host have what it needs."""
        self._set(0)


def _end(over: Raw, answers: Answers) -> None:
    over()
    answers.close()


def _new_runtime(*, bounded: bool) -> Raw:
    lua = lua54.LuaRuntime(
        encoding=None,
        register_eval=False,
        register_builtins=False,
        unpack_returned_tuples=True,
        max_memory=0 if bounded else None,  # 0 counts what is used, and bounds nothing
        attribute_handlers=(_deny, _deny),
    )
    lua.execute(b"python, package.loaded.python = nil, nil")
    return lua


def _several(answer: Raw) -> tuple[Raw, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def _deny(*_: object) -> NoReturn:
    raise AttributeError("not within a script's reach")


def _leave(code: int = 0) -> NoReturn:
    raise Leave(code)


def _fail(message: bytes, traceback: bytes) -> NoReturn:
    error = ScriptFailed(message.decode("utf-8", "backslashreplace"))
    text = traceback.decode("utf-8", "backslashreplace")
    error.traceback = text
    raise error


def _os_bytes(text: str | os.PathLike[str]) -> bytes:
    return encode(str(text))


def _without_first_line(code: bytes) -> bytes:
    # A "#!" line and a byte order mark are for the system; the line's end stays, so that lines count.
    code = code.removeprefix(b"\xef\xbb\xbf")
    return code[code.find(b"\n") :] if code.startswith(b"#") and b"\n" in code else code
