"""Which tools there are, by name: those of this room, and those that installed packages add.

A tool is imported when it is first used; installed packages are looked at when a name is not one of this room's, or
all are listed. A Registry belongs to one thread.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.tools.outcome import Outcome, explained
from llmspellfs.tools.tool import Tool
from llmspellfs.tools.worker import MEMORY, SECONDS, Worker

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "llmspellfs.tools"
"""The entry point group of installed tools."""
_OWN = {
    "base64-encoder": "base64_encoder",
    "calculator": "calculator",
    "compression": "compression",
    "csv-analyzer": "csv_analyzer",
    "date-time-handler": "date_time",
    "diff-calculator": "diff_calculator",
    "hash-calculator": "hash_calculator",
    "json-processor": "json_processor",
    "template-engine": "template_engine",
    "text-manipulator": "text_manipulator",
    "uuid-generator": "uuid_generator",
}
"""From the name of a tool to its module in this folder."""

_log = logging.getLogger(__name__)


class Registry:
    """The tools of this room and, with *installed*, those of installed packages."""

    def __init__(self, *, installed: bool = True, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        """Look at installed packages only where *installed*.

        In the child process each call has *seconds*, and all together have *memory* bytes.
        """
        self._installed: dict[str, EntryPoint] | None = None if installed else {}
        self._loaded: dict[str, Tool] = {}
        self._worker = Worker(seconds=seconds, memory=memory, installed=installed)

    def names(self) -> list[str]:
        """Return the name of each tool, in order; whether an installed one works is not tried."""
        return sorted({*_OWN, *self._others()})

    def exists(self, name: str) -> bool:
        """Tell whether a tool has this *name*."""
        return name in _OWN or name in self._others()

    def get(self, name: str) -> Tool:
        """Return the tool called *name*; raise NotFound, or InvalidValue where its package cannot be used."""
        if name not in self._loaded:
            self._loaded[name] = self._own(name) if name in _OWN else self._other(name)
        return self._loaded[name]

    def execute(self, name: str, given: Mapping[str, object]) -> Outcome:
        """Run the tool *name* with the parameters *given*; whatever goes wrong is in the outcome."""
        try:
            tool = self.get(name)
            arguments = tool.arguments(given)
            if tool.is_isolated(arguments):
                return self._worker.call(name, arguments)
            return Outcome(success=True, result=tool.function(**arguments))
        except (Exception, SystemExit) as error:  # noqa: BLE001  a tool is anyone's code
            return Outcome(success=False, error=explained(error))

    def _own(self, name: str) -> Tool:
        tool = importlib.import_module(f"llmspellfs.tools.{_OWN[name]}").TOOL
        assert isinstance(tool, Tool)
        return tool

    def _other(self, name: str) -> Tool:
        entry = self._others().get(name)
        if entry is None:
            raise NotFound("tool", name)
        try:
            tool = entry.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001  a package is anyone's code
            _log.debug("the tool %s cannot be loaded", name, exc_info=error)
            why = f"cannot be loaded from {entry.value}: {type(error).__name__}: {error}"
            raise InvalidValue(f"tool {name}", why) from None
        if not isinstance(tool, Tool):
            raise InvalidValue(f"tool {name}", f"{entry.value} is a {type(tool).__name__}, not a Tool")
        return tool

    def _others(self) -> dict[str, EntryPoint]:
        if self._installed is None:
            self._installed = {}
            for entry in _entries():
                self._installed.setdefault(entry.name, entry)
        return self._installed


def _entries() -> Iterator[EntryPoint]:
    from importlib.metadata import distributions

    for package in distributions():
        try:
            yield from package.entry_points.select(group=GROUP)
        except Exception as error:  # noqa: BLE001  one damaged installation must not hide the others
            _log.debug("entry points of a package cannot be read", exc_info=error)
