"""What happens meanwhile: calls on threads of their own, and things done just before or after a method's next call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

PATIENCE = 30.0
"""Seconds for what is to happen at once."""
MOMENT = 0.5
"""Seconds for which something is watched that must not happen."""


def before(monkeypatch: pytest.MonkeyPatch, where: object, name: str, act: Callable[[], object]) -> None:
    """Have *act* run once, before the next call of the method *name* of *where*'s class."""
    plain = getattr(type(where), name)

    def late(self: object, *args: Any, **kwargs: Any) -> object:
        monkeypatch.setattr(type(where), name, plain)
        act()
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(type(where), name, late)


def after(monkeypatch: pytest.MonkeyPatch, where: object, name: str, act: Callable[[], object]) -> None:
    """Have *act* run once, after the next call of the method *name* of *where*'s class."""
    plain = getattr(type(where), name)

    def early(self: object, *args: Any, **kwargs: Any) -> object:
        monkeypatch.setattr(type(where), name, plain)
        result = plain(self, *args, **kwargs)
        act()
        return result

    monkeypatch.setattr(type(where), name, early)


class Pause:
    """Where a thread waits until `go_on` is set; `reached` says that it is there."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.go_on.wait(4 * PATIENCE)


class Call(threading.Thread):
    """A call on a thread of its own; `error` is what it raised."""

    def __init__(self, call: Callable[..., object], *args: object) -> None:
        super().__init__()
        self._call, self._arguments = call, args
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._call(*self._arguments)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def is_over(self, seconds: float = PATIENCE) -> bool:
        self.join(seconds)
        return not self.is_alive()
