"""What the kernel's page cache holds of each path, and so what a new handle tells it: keep it, drop it, go past it.

libfuse's nodes, and with them the kernel's pages, go by path, whatever file is there. A handle that uses the cache is
*cached*. While a cached handle on other content is open it may refill the cache at any time, so new ones go past it,
and the first after it does not keep what is there. Pages are kept only where the path, the inode and the content hash
are the ones that the kernel has.

Threading: any thread may call; the lock is held for dictionary work only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmspellfs.tree.files import OpenFile
    from llmspellfs.tree.handles import FileHandle

_REMEMBERED = 100_000
_BELIEVED_NS = 2_000_000_000
"""For how long after a change through another door new handles go past the page cache: the kernel, which keeps
attributes for a second, would cut what it reads at the size it knows."""


class Page:
    """The kernel's pages of one path: whose content they are, and which open files have cached handles on them."""

    __slots__ = ("cached", "is_mixed", "news", "news_ns", "token")

    def __init__(self) -> None:
        """Begin with nothing known."""
        self.token: tuple[int, str] | None = None
        self.is_mixed = False
        """They may hold anything until a handle that drops them is opened."""
        self.cached: dict[OpenFile, int] = {}
        self.news: tuple[int, str] | None = None
        """What another door had just put there at `news_ns` (monotonic)."""
        self.news_ns = 0


class Pages:
    """The kernel's pages by path; *now* gives nanoseconds since the epoch."""

    def __init__(self, now: Callable[[], int]) -> None:
        """Begin with nothing known."""
        self._now = now
        self._turn = threading.Lock()
        self._by_path: dict[str, Page] = {}

    def admit(self, path: str, handle: FileHandle) -> None:
        """Decide how *handle*, newly opened at *path*, uses the kernel's pages."""
        file = handle.file
        with self._turn:
            page = self._page(path)
            token = file.token
            if any(other is not file for other in page.cached) or self._is_news(page, file):
                page.token, page.is_mixed = None, True
                handle.direct_io = True
                return
            if handle.is_appending:
                handle.direct_io = True
                return
            is_same = token is not None and token == page.token
            handle.keep_cache = not page.is_mixed and (is_same or file in page.cached)
            page.token, page.is_mixed = token, False
            page.cached[file] = page.cached.get(file, 0) + 1
            file.pages.add(page)
            handle.page = page

    def _page(self, path: str) -> Page:
        page = self._by_path.get(path)
        if page is None:
            if len(self._by_path) >= _REMEMBERED:
                self._by_path = {key: known for key, known in self._by_path.items() if known.cached}
            page = self._by_path[path] = Page()
        return page

    def _is_news(self, page: Page, file: OpenFile) -> bool:
        """Tell whether the kernel may still believe in the size that the file had before another door changed it."""
        token = file.token
        if token is None or token == page.token or file in page.cached or file.entry is None:
            return False
        if file.is_own or file.entry.facts.updated_ns <= self._now() - _BELIEVED_NS:
            return False
        if page.news != token:
            page.news, page.news_ns = token, time.monotonic_ns()
        return time.monotonic_ns() < page.news_ns + _BELIEVED_NS  # the clock may have gone back by years since

    def release(self, handle: FileHandle) -> None:
        """Count *handle* out."""
        page, handle.page = handle.page, None
        if page is None:
            return
        with self._turn:
            left = page.cached[handle.file] - 1
            if left:
                page.cached[handle.file] = left
            else:
                del page.cached[handle.file]
                handle.file.pages.discard(page)

    def committed(self, file: OpenFile) -> None:
        """Hear that *file* is committed as it is: that is what the kernel has where only its handles are cached."""
        with self._turn:
            for page in file.pages:
                if page.is_mixed or len(page.cached) > 1:
                    page.token, page.is_mixed = None, True
                else:
                    page.token = file.token

    def spoil(self, file: OpenFile) -> None:
        """Hear that the kernel may hold bytes of *file* that were not committed."""
        with self._turn:
            for page in file.pages:
                page.token, page.is_mixed = None, True

    def moved(self, old: str, new: str, *, folder: bool) -> None:
        """Hear that *old*, and with a *folder* what is below it, is *new* now; what was there is gone."""
        with self._turn:
            self._by_path.pop(new, None)
            page = self._by_path.pop(old, None)
            if page is not None:
                self._by_path[new] = page
            if folder:
                for key in [key for key in self._by_path if key.startswith(f"{old}/")]:
                    self._by_path[new + key[len(old) :]] = self._by_path.pop(key)

    def gone(self, path: str) -> None:
        """Hear that nothing is at *path* any more."""
        with self._turn:
            self._by_path.pop(path, None)
