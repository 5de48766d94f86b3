"""`Session.replay` and its kin: `replay(session, options)`, `canReplay`, `getReplayMetadata`, `listReplayable`,
`getTimeline`; and `Artifact.lineage`.

The options of a replay: `mode` (exact, simulate, debug, rerun), `from` and `to` (seqs), `checkpoint` (a number),
`compare_results`, `timeout_seconds`, `stop_on_error`, `name` (of the new session), and `on_progress`, which is called
with a table for each step, outside of any transaction; `replaying.lua` does that. The result is a table: `success`,
`mode`, `session_id`, `new_session_id`, `from`, `to`, `events`, `contents`, `duration_seconds`, `recorded_seconds`,
`stopped`, `mismatches` (`what`, `seq`, `name`, `expected`, `got`), and of a rerun `runs` and `artifacts`.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from llmspellfs.errors import InvalidValue
from llmspellfs.lua.arguments import Argument, Arguments, Kind, call_name
from llmspellfs.lua.values import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmspellfs.lua.arguments import Read
    from llmspellfs.lua.context import Context
    from llmspellfs.lua.values import Raw
    from llmspellfs.model.replay import Steps
    from llmspellfs.service.rerunning import Ended, Runner, Task

_MAX_SAID = 500


_SESSION: Final = Argument("session", Kind.SESSION)
_FIELDS: Final = {
    "mode": Kind.TEXT, "from": Kind.COUNT, "to": Kind.COUNT, "checkpoint": Kind.COUNT, "compare_results": Kind.FLAG,
    "timeout_seconds": Kind.JSON, "stop_on_error": Kind.FLAG, "name": Kind.TEXT,
}  # fmt: skip
_OPTIONS: Final = Argument(
    "options", Kind.TABLE, required=False,
    fields=tuple(Argument(name, kind, required=False) for name, kind in _FIELDS.items()),
)  # fmt: skip
_KINDS: Final = Argument("options", Kind.TABLE, required=False, fields=(Argument("kinds", Kind.TEXTS, required=False),))
TAKES: Final[dict[str, tuple[str, tuple[Argument, ...]]]] = {
    "replay": ("Session", (_SESSION, _OPTIONS)),
    "can_replay": ("Session", (_SESSION,)),
    "get_replay_metadata": ("Session", (_SESSION,)),
    "list_replayable": ("Session", ()),
    "get_timeline": ("Session", (_SESSION, _KINDS)),
    "lineage": ("Artifact", (_SESSION, Argument("artifact", Kind.ARTIFACT))),
}
"""Each function's module, and what it takes; `on_progress` stays on Lua's side."""


def run_in_child(task: Task) -> Ended:
    """Run *task* in a process of its own, which is killed when its time is up; what it prints goes nowhere."""
    import subprocess  # here and below: most scripts need none of it

    from llmspellfs.service.rerunning import Ended

    folder = task.store.with_name("scripts")
    folder.mkdir(exist_ok=True)
    script = folder / (os.path.basename(task.name) or "script.lua")
    script.write_bytes(task.text)
    words = [sys.executable, "-m", "llmspellfs", "--store", os.fspath(task.store), "run"]
    words += ["--session", task.session] if task.session is not None else []
    words += [] if task.sandbox is None else _sandbox_words(task.sandbox)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    child = subprocess.Popen(
        [*words, os.fspath(script), *task.args], env=environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        said = child.communicate(timeout=task.timeout_seconds)[1]
    except BaseException as error:
        os.killpg(child.pid, signal.SIGKILL)  # a script's sandbox is a process of its own
        child.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return Ended(None)
        raise
    message = said.decode("utf-8", "backslashreplace").partition("\nstack traceback:\n")[0]
    return Ended(child.returncode, message.strip()[-_MAX_SAID:])


def _sandbox_words(sandbox: Mapping[str, Any]) -> list[str]:
    words = ["--sandbox", *(["--read-only"] if sandbox.get("read_only") else [])]
    limit = sandbox.get("max_artifacts")
    return words if limit is None else [*words, "--max-artifacts", str(limit)]


class ReplayFunctions:
    """Replay's functions of the global `Session`, and lineage of `Artifact`, over one script's *context*."""

    ABSENT: frozenset[str] = frozenset()

    def __init__(self, context: Context, runner: Runner | None = run_in_child) -> None:
        """Work on the store of *context*; *runner* runs recorded scripts again, None where that is not allowed."""
        self._context, self._values, self._runner = context, context.values, runner
        self._steps: dict[int, Steps] = {}
        self._begun = 0

    def table(self) -> dict[str, Callable[..., object]]:
        """Return the functions of `Session` that call none of the script's, by name."""
        return self._bound({
            "can_replay": self._can_replay, "get_replay_metadata": self._metadata,
            "list_replayable": self._replayable, "get_timeline": self._timeline,
        })  # fmt: skip

    def of_artifacts(self) -> dict[str, Callable[..., object]]:
        """Return the functions of `Artifact`, by name."""
        return self._bound({"lineage": self._lineage})

    def inner(self) -> dict[str, Callable[..., object]]:
        """Return what `replay` is made of; no script sees it."""
        return {"begin": self._bound({"replay": self._begin})["replay"], "step": self._step}

    def _bound(self, functions: dict[str, Callable[..., object]]) -> dict[str, Callable[..., object]]:
        arguments = Arguments(self._context)
        return {
            name: arguments.bind(call_name(TAKES[name][0], name), TAKES[name][1], function)
            for name, function in functions.items()
        }

    def _begin(self, session: str, told: Read | None) -> int:
        from llmspellfs.model.replay import Mode, Wanted, parse_mode

        told = told or dict.fromkeys(field.name for field in _OPTIONS.fields)
        wanted = Wanted(
            parse_mode(told["mode"] or Mode.EXACT), told["from"], told["to"], told["checkpoint"],
            told["compare_results"] is not False, _seconds(told["timeout_seconds"]), bool(told["stop_on_error"]),
            told["name"],
        )  # fmt: skip
        steps = self._context.store.replays.steps(session, wanted, runner=self._runner, by=self._context.origin)
        self._begun += 1
        self._steps[self._begun] = steps
        return self._begun

    def _step(self, handle: int, wants: bool = False) -> Raw:
        """Return the next step's table, or False and the result's; without *wants* only the result."""
        steps = self._steps[handle]
        try:
            step = next(steps)
            while not wants:
                step = next(steps)
        except StopIteration as done:
            del self._steps[handle]
            return False, self._shown(done.value.document())
        except BaseException:
            del self._steps[handle]
            raise
        return self._shown(step.document())

    def _can_replay(self, session: str) -> Raw:
        can, why = self._context.store.replays.can_replay(session)
        return can, None if why is None else encode(why)

    def _metadata(self, session: str) -> Raw:
        return self._shown(self._context.store.replays.metadata(session).document())

    def _replayable(self) -> Raw:
        return self._shown([one.document() for one in self._context.store.replays.replayable()])

    def _timeline(self, session: str, told: Read | None) -> Raw:
        from llmspellfs.service.timeline import timeline

        kinds = (told or {}).get("kinds") or ()
        events = self._context.store.sessions.events(session, kinds=kinds)
        return self._shown([one.document() for one in timeline(events)])

    def _lineage(self, session: str, artifact: str) -> Raw:
        found = self._context.store.artifacts.get(session, artifact)
        return self._shown(self._context.store.runs.lineage(found.id).document())

    def _shown(self, document: object) -> Raw:
        return self._values.to_lua(_plain(document))


def _seconds(value: object) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise InvalidValue("Session.replay: argument 2 (options).timeout_seconds", "expected a number of seconds")


def _plain(value: object) -> object:
    """Return *value* without what is None in its objects: in Lua a field that says nothing is nil."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
