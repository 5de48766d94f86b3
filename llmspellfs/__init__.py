"""Agent sessions as directories, their artifacts as files, over one deduplicated store.

`open_store` is the way in:

    >>> from llmspellfs import open_store
    >>> with open_store(backend="memory") as store:
    ...     session = store.sessions.create("q4 analysis", tags=["q4"])
    ...     artifact = store.artifacts.put(session.id, "report.txt", b"all is well")
    ...     store.artifacts.read(artifact)
    b'all is well'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmspellfs.service.store import Store, open_store

__version__ = "0.1.0"

__all__ = ["Store", "__version__", "open_store"]


def __getattr__(name: str) -> object:
    """Import the service when it is asked for: a command that needs no store starts without it."""
    if name not in {"Store", "open_store"}:
        raise AttributeError(f"module 'llmspellfs' has no attribute {name!r}")
    from llmspellfs.service import store

    return getattr(store, name)
