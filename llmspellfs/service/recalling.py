"""What a run uses that no session holds, kept so that it can be run again: values of State, and modules' texts.

Both are bounded; what is beyond is left out, and named as such.
"""

from __future__ import annotations

from dataclasses import replace

from blake3 import blake3

from llmspellfs.model.run import Kept, Module, Run
from llmspellfs.storage.state import SESSION

MAX_STATE = 256 << 10
"""Bytes of all values of State that a record keeps, with their keys."""
MAX_KEYS = 10_000
"""Keys of State that are followed."""
MAX_MODULES = 1 << 20
"""Bytes of all modules' texts that are kept for one run."""
MAX_NAMED = 100
"""Things left out that are named."""


class Recall:
    """What one run has used so far; of State that is what was there before the run set it."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._state: dict[tuple[str, str], str | None] = {}
        self._state_room, self._module_room = MAX_STATE, MAX_MODULES
        self.modules: dict[str, bytes] = {}
        """The texts of modules by their names."""
        self._left_out: dict[str, None] = {}

    def looked(self, scope: str, key: str, text: str | None) -> None:
        """Remember that *key* in *scope* was *text* (JSON; None: not there), unless the run has been there before."""
        place = (scope, key)
        if place in self._state:
            return
        if len(self._state) >= MAX_KEYS:
            self._leave_out(f"State beyond {MAX_KEYS} keys")
            return
        size = 0 if text is None else len(scope) + len(key) + len(text)
        if size > self._state_room:
            self._leave_out(f"State {scope} {key} ({size} bytes)")
            text, size = None, 0
        self._state[place] = text
        self._state_room -= size

    def loaded(self, name: str, text: bytes) -> None:
        """Remember that the module *name* was loaded, whose source is *text*."""
        if name in self.modules:
            return
        if len(text) > self._module_room:
            self._leave_out(f"module {name} ({len(text)} bytes or more)")
            return
        self._module_room -= len(text)
        self.modules[name] = text

    def told(self, run: Run) -> Run:
        """Return *run* with what it has used."""
        return replace(
            run,
            state=tuple(Kept(*place, text) for place, text in list(self._state.items()) if text is not None),
            modules=tuple(Module(name, blake3(text).hexdigest()) for name, text in list(self.modules.items())),
            left_out=tuple(self._left_out),
        )

    def _leave_out(self, what: str) -> None:
        if len(self._left_out) < MAX_NAMED:
            self._left_out[what] = None
        else:
            self._left_out["and more"] = None


def within(run: Run, session_id: str) -> Run:
    """Return *run* as the record in a session may tell it: State that belongs to another session goes with that one."""
    own = tuple(one for one in run.state if one.scope == SESSION + session_id or not one.scope.startswith(SESSION))
    if own == run.state:
        return run
    others = dict.fromkeys(f"State {one.scope} (of another session)" for one in run.state if one not in set(own))
    return replace(run, state=own, left_out=(*run.left_out, *list(others)[:MAX_NAMED]))
