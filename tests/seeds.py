"""Where chance begins: elsewhere in every run, and where LLMSPELLFS_SEED says, which repeats what a run has printed."""

from __future__ import annotations

import os
import time


def first_seed() -> int:
    """Return the first seed of a soak; the ones after it are the numbers that follow."""
    return int(os.environ.get("LLMSPELLFS_SEED", int(time.time()) % 10**6 * 1000))
