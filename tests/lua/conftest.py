"""A store in memory, and scripts run on it with what they print caught."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO

import pytest

from llmspellfs import Store, open_store
from llmspellfs.lua.runtime import Script

Run = Callable[..., str]
_TICKS_NS = 20_000_000


def a_moment_ago_ns() -> int:
    """Return the time of a store that scripts ask about what they have just done, up to `os.time()`.

    That tells whole seconds by a clock of the system that goes by ticks of up to 10 ms; stores have a finer one, of
    which the next second may have begun before.
    """
    return time.time_ns() - _TICKS_NS


@pytest.fixture
def spell_store() -> Iterator[Store]:
    with open_store(backend="memory", now=a_moment_ago_ns) as store:
        yield store
        assert store.upkeep.fsck().ok


@pytest.fixture
def run(spell_store: Store) -> Run:
    """Run code as `t.lua` and return what it printed."""

    def run_it(code: str, *, args: Sequence[str] = (), session: str | None = None, exits: int = 0) -> str:
        stream = BytesIO()
        script = Script(spell_store, session=session, args=args, stdout=stream)
        assert script.run_code(code, "@t.lua") == exits
        return stream.getvalue().decode("utf-8", "surrogateescape")

    return run_it


@pytest.fixture
def fails(run: Run) -> Callable[[str], str]:
    """Run code that must fail and return the message of its error."""
    from llmspellfs.errors import ScriptFailed

    def run_it(code: str) -> str:
        with pytest.raises(ScriptFailed) as caught:
            run(code)
        return caught.value.message

    return run_it
