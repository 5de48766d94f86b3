"""The `llmspellfs` command: one file per noun; it translates words to service calls and decides nothing.

`main` is the command. Only `render` prints. One process, one thread, one store. Modules here import click and
little else at their top, and what a command needs when it runs, so that small commands start fast.
"""

from llmspellfs.cli.root import main

__all__ = ["main"]
