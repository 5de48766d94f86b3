"""How many there may be: sessions that are active or suspended, and artifacts in a session; bytes are `quota`'s.

A limit of 0 is none.
"""

from __future__ import annotations

from llmspellfs.config import Config
from llmspellfs.errors import LimitExceeded


def may_have(config: Config, artifacts: int) -> bool:
    """Tell whether a session may have as many *artifacts*."""
    limit = config.max_artifacts_per_session
    return not limit or artifacts <= limit


def check_artifacts(config: Config, artifacts: int) -> None:
    """Raise LimitExceeded where a session may not have as many *artifacts*."""
    if not may_have(config, artifacts):
        raise LimitExceeded("max_artifacts_per_session", config.max_artifacts_per_session)


def check_sessions(limit: int, is_open: int) -> None:
    """Raise LimitExceeded where not as many sessions as *is_open* may be active or suspended: beyond *limit*."""
    if limit and is_open > limit:
        raise LimitExceeded("max_sessions", limit)
