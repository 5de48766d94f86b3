"""What `Session.builder()` asks of this side: whether its methods were given what they take. `builder.lua` is the rest.

`Session.builder():name("q4"):tag("a"):metadata({ticket = "12"}):build()` creates a session as `Session.create` does and
gives its id. `tag` and `tags` add, `metadata` adds keys; every other method replaces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmspellfs.lua.arguments import Arguments
from llmspellfs.lua.signatures import BUILDER

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.lua.context import Context


class BuilderFunctions:
    """What the methods of a builder are made of, over one script's *context*; no script sees it."""

    def __init__(self, context: Context) -> None:
        """Read arguments in the light of *context*."""
        self._arguments, self._to_lua = Arguments(context), context.values.to_lua

    def inner(self) -> dict[str, Callable[..., object]]:
        """Return for each method a function that gives back its argument, or refuses it."""
        return {
            name: self._arguments.bind(f"Session.builder:{name}", takes, self._to_lua)
            for name, takes in BUILDER.items()
        }
