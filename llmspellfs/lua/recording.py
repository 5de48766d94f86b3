"""How a script's run is recorded: what is told of it, and the versions of what it runs on."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lupa import lua54

from llmspellfs.lua.values import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmspellfs.lua.context import Context
    from llmspellfs.service.records import Recorder


class Modules:
    """The modules that a runtime has loaded from files, for the record of each run on it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[str, bytes] = {}
        self._run: Recorder | None = None

    def tell(self, name: bytes, path: bytes) -> None:
        """Take note that `require` has found the module *name* in the file *path*."""
        from llmspellfs.service.recalling import MAX_MODULES

        with suppress(OSError), open(path, "rb") as file:
            text = self._found[decode(name)] = file.read(MAX_MODULES + 1)
            if self._run is not None:
                self._run.recall.loaded(decode(name), text)

    @contextmanager
    def told(self, run: Recorder) -> Iterator[None]:
        """Have *run* know of those that were found before, and of each that is found meanwhile."""
        for name, text in self._found.items():
            run.recall.loaded(name, text)
        self._run = run
        try:
            yield
        finally:
            self._run = None


@contextmanager
def recorded(context: Context, code: bytes, name: str, args: Sequence[str], modules: Modules) -> Iterator[Recorder]:
    """Record what is done meanwhile as a run of *code*, called *name*, with *args*, in the name of *context*.

    What it loads is told by *modules*.
    """
    from llmspellfs.model.run import RunScript

    script = RunScript(code, name, tuple(args), context.current, environment())
    with context.store.runs.recording(script, by=context.origin) as run, modules.told(run):
        yield run


def environment() -> dict[str, str]:
    """Return the versions that a run's outcome may depend on; nothing of the process's own environment."""
    from llmspellfs import __version__

    system = os.uname()
    return {
        "llmspellfs": __version__, "lua": ".".join(map(str, lua54.LUA_VERSION)),
        "python": sys.version.split()[0], "system": f"{system.sysname} {system.release} {system.machine}",
    }  # fmt: skip
