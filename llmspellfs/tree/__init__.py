"""What a store looks like as files, decided here and only here; no FUSE.

Each kind of directory and file is a class of its own (`nodes`, `control`, `views`); `Tree` resolves paths to them and
is what a file system adapter calls. Threading: every method may be called from any thread; a lookup never waits for a
writer.
"""

from llmspellfs.tree.tree import Tree

__all__ = ["Tree"]
