"""How a script's run is recorded: what is told of it, and the versions of what it runs on."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lupa import lua54

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmspellfs.lua.context import Context
    from llmspellfs.service.records import Recorder


@contextmanager
def recorded(context: Context, code: bytes, name: str, args: Sequence[str]) -> Iterator[Recorder]:
    """Record what is done meanwhile as a run of *code*, called *name*, with *args*, in the name of *context*."""
    from llmspellfs.model.run import RunScript

    script = RunScript(code, name, tuple(args), context.current, environment())
    with context.store.runs.recording(script, by=context.origin) as run:
        yield run


def environment() -> dict[str, str]:
    """Return the versions that a run's outcome may depend on; nothing of the process's own environment."""
    from llmspellfs import __version__

    system = os.uname()
    return {
        "llmspellfs": __version__, "lua": ".".join(map(str, lua54.LUA_VERSION)),
        "python": sys.version.split()[0], "system": f"{system.sysname} {system.release} {system.machine}",
    }  # fmt: skip
