"""`Session.replay` and its kin: `replay(session, options)`, `canReplay`, `getReplayMetadata`, `listReplayable`,
`getTimeline`; and `Artifact.lineage`.

The options of a replay: `mode` (exact, simulate, debug, rerun), `from` and `to` (seqs), `checkpoint` (a number),
`compare_results`, `timeout_seconds`, `stop_on_error`, `name` (of the new session), and `on_progress`, which is called
with a table for each step, outside of any transaction; `replaying.lua` does that. What it raises ends the replay and
is the script's error; a session that the replay has made is deleted then, whatever its mode. The result is a table:
`success`, `mode`, `session_id`, `new_session_id`, `from`, `to`, `events`, `contents`, `duration_seconds`,
`recorded_seconds`, `stopped`, `mismatches` (`what`, `seq`, `name`, `expected`, `got`), and of a rerun `runs`,
`artifacts`, `partial` and `left_out`, what was too much to be recorded.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmspellfs.errors import InvalidValue
from llmspellfs.lua.arguments import Arguments, call_name
from llmspellfs.lua.signatures import REPLAY
from llmspellfs.lua.values import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmspellfs.lua.arguments import Read
    from llmspellfs.lua.context import Context
    from llmspellfs.lua.values import Raw
    from llmspellfs.model.replay import Steps
    from llmspellfs.service.rerunning import Ended, Runner, Task

_MAX_SAID = 500
_NOT_RUN = 126
"""Exit status of what could not be started, as shells have it."""


def run_in_child(task: Task) -> Ended:
    """Run *task* in a process of its own, which is killed when its time is up; what it prints goes nowhere."""
    import subprocess  # here and below: most scripts need none of it

    from llmspellfs.service.rerunning import Ended

    try:
        script = _laid_out(task)
        words = [*_words(task), os.fspath(script), *task.args]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
        child = subprocess.Popen(
            words, env=environment, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )  # fmt: skip
    except (OSError, ValueError) as error:  # a name or an argument that the system does not take
        return Ended(_NOT_RUN, f"it could not be started: {error}"[:_MAX_SAID])
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


def _laid_out(task: Task) -> Path:
    """Write the script of *task* to a file, its modules where `require` finds them; return the script's path."""
    folder = task.store.with_name("scripts")
    folder.mkdir(exist_ok=True)
    for name, text in task.modules.items():
        # As `require` makes a path of a name, but for what would lead elsewhere: no part of it is "..".
        parts = [part for part in name.replace(".", "/").split("/") if part]
        module = folder.joinpath(*parts[:-1], f"{parts[-1] if parts else ''}.lua")
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_bytes(text)
    name = os.path.basename(task.name)
    script = folder / ("script.lua" if name in {"", ".", ".."} else name)
    script.write_bytes(task.text)
    return script


def _words(task: Task) -> list[str]:
    words = [sys.executable, "-m", "llmspellfs", "--store", os.fspath(task.store), "run"]
    words += ["--session", task.session] if task.session is not None else []
    return words if task.sandbox is None else [*words, *_sandbox_words(task.sandbox)]


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
        return self._bound("Session", {
            "can_replay": self._can_replay, "get_replay_metadata": self._metadata,
            "list_replayable": self._replayable, "get_timeline": self._timeline,
        })  # fmt: skip

    def of_artifacts(self) -> dict[str, Callable[..., object]]:
        """Return the functions of `Artifact`, by name."""
        return self._bound("Artifact", {"lineage": self._lineage})

    def inner(self) -> dict[str, Callable[..., object]]:
        """Return what `replay` is made of; no script sees it."""
        begin = self._bound("Session", {"replay": self._begin})["replay"]
        return {"begin": begin, "step": self._step, "end": self._end}

    def _bound(self, module: str, functions: dict[str, Callable[..., object]]) -> dict[str, Callable[..., object]]:
        arguments = Arguments(self._context)
        return {
            name: arguments.bind(call_name(module, name), REPLAY[f"{module}.{name}"], function)
            for name, function in functions.items()
        }

    def _begin(self, session: str, told: Read | None) -> int:
        from llmspellfs.model.replay import Mode, Wanted, parse_mode

        told = told or dict.fromkeys(field.name for field in REPLAY["Session.replay"][1].fields)
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

    def _end(self, handle: int) -> None:
        """Break a replay off that has not come to its end."""
        steps = self._steps.pop(handle, None)
        if steps is not None:
            steps.close()

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
        events = self._context.store.sessions.events(session)
        return self._shown([one.document() for one in timeline(events, kinds)])

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
