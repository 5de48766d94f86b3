"""What a script is told of an error: the one table from error classes to Lua, and the answers that carry it.

Pure; any thread.
"""

from __future__ import annotations

import inspect
import logging
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from llmspellfs import errors

if TYPE_CHECKING:
    from collections.abc import Callable

Answer: TypeAlias = tuple[object, ...]
_log = logging.getLogger(__name__)


class Told(Enum):
    """How a script learns of an error."""

    ABSENT = "nil, message"
    """From functions that look something up; an error from all others."""
    RAISED = "error"


TOLD: dict[type[errors.SpellError], Told] = {
    errors.SpellError: Told.RAISED,
    errors.NotFound: Told.ABSENT,
    errors.AlreadyExists: Told.RAISED,
    errors.NotAFolder: Told.RAISED,
    errors.IsAFolder: Told.RAISED,
    errors.NotEmpty: Told.RAISED,
    errors.InvalidName: Told.RAISED,
    errors.NameTooLong: Told.RAISED,
    errors.NameNotText: Told.RAISED,
    errors.InvalidValue: Told.RAISED,
    errors.InvalidTransition: Told.RAISED,
    errors.SessionNotActive: Told.RAISED,
    errors.ReadOnly: Told.RAISED,
    errors.SessionBusy: Told.RAISED,
    errors.NotAllowed: Told.RAISED,
    errors.NotSupported: Told.RAISED,
    errors.LimitExceeded: Told.RAISED,
    errors.TooLarge: Told.RAISED,
    errors.NoSpace: Told.RAISED,
    errors.StoreBusy: Told.RAISED,
    errors.StoreUnusable: Told.RAISED,
    errors.ConfigError: Told.RAISED,
    errors.MountFailed: Told.RAISED,
    errors.ScriptFailed: Told.RAISED,
    errors.Vanished: Told.RAISED,
    errors.Corrupt: Told.RAISED,
}


class Leave(BaseException):
    """Ends a script with the exit status *code*, past every pcall."""

    def __init__(self, code: int) -> None:
        """Keep the exit status."""
        super().__init__(code)
        self.code = code


def told(error: BaseException) -> Told:
    """Return how a script learns of *error*."""
    return next((TOLD[kind] for kind in type(error).__mro__ if kind in TOLD), Told.RAISED)


def message(error: BaseException) -> bytes:
    """Return the one line about *error* for a script; what nobody foresaw is logged with its traceback."""
    if isinstance(error, errors.SpellError):
        text = error.message
    elif isinstance(error, OSError) and error.strerror:
        text = f"{os_name(error.filename)}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, MemoryError):
        text = "not enough memory"
    else:
        _log.debug("unforeseen error in a function called by a script", exc_info=error)
        text = f"internal error: {type(error).__name__}: {error}"
    return text.encode("utf-8", "backslashreplace")


def os_name(name: object) -> str:
    """Return the name of a file as text, whether the system gave it as text or bytes."""
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)


class Answers:
    """The functions of one script as Lua may call them, until `close`.

    Lua keeps what it may call, and what that knows keeps Lua: a ring of which Python sees one half and Lua the other,
    so that nobody would end it. Hence the functions are kept here, and Lua has what asks for them by number.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.ended: BaseException | None = None
        """Why the script has to end, if it has to."""
        self._functions: list[Callable[..., object]] = []

    def close(self) -> None:
        """Let go of all functions; Lua calls none any more."""
        self._functions.clear()

    def plain(self, function: Callable[..., object]) -> Callable[..., object]:
        """Return *function* as it is, to be called by Lua until `close`; for what raises nothing."""
        functions, number = self._functions, self._keep(function)
        return lambda *arguments: functions[number](*arguments)  # noqa: PLW0108 - looked up when it is called

    def of(self, function: Callable[..., object], *, absent: bool = False) -> Callable[..., Answer]:
        """Return *function* as Lua may call it: it never raises, and its answer starts with how it went.

        `True, value…` is success; `False, message` an error; `None` says that the script has to end, and `ended` why.
        With *absent*, what is not there is `True, None, message`. Arguments beyond those that *function* takes are
        dropped, as Lua does.
        """
        takes = inspect.signature(function).parameters.values()
        most = None if any(one.kind is one.VAR_POSITIONAL for one in takes) else len(takes)
        functions, number = self._functions, self._keep(function)

        def answer(*arguments: object) -> Answer:
            try:
                value = functions[number](*arguments[:most])
                return (True, *value) if isinstance(value, tuple) else (True, value)
            except BaseException as error:  # noqa: BLE001  no Python exception may reach Lua, whatever it is
                if isinstance(error, BrokenPipeError) or not isinstance(error, Exception):
                    self.ended = error
                    return (None,)
                is_absent = absent and told(error) is Told.ABSENT
                return (True, None, message(error)) if is_absent else (False, message(error))

        return answer

    def _keep(self, function: Callable[..., object]) -> int:
        self._functions.append(function)
        return len(self._functions) - 1
