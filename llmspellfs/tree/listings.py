"""What a view lists in a session, remembered for a second, so that walking a view asks once and not in each folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

_SECONDS = 1.0
_MANY = 64

Listing = dict[str, dict[str, bool]]
"""By folder (its path with a slash behind, "" for the top): each name there, and whether it is a folder."""


def by_folder(paths: Iterable[str]) -> Listing:
    """Return *paths* by the folders that they are in, and the folders by theirs."""
    listing: Listing = {"": {}}
    for path in paths:
        start = 0
        while (slash := path.find("/", start)) >= 0:
            listing.setdefault(path[:start], {})[path[start:slash]] = True
            start = slash + 1
        listing.setdefault(path[:start], {})[path[start:]] = False
    return listing


class Listings:
    """Listings by key, each for a second; any thread may call."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._turn = threading.Lock()
        self._kept: dict[str, tuple[float, Listing]] = {}

    def get(self, key: str, make: Callable[[], Listing]) -> Listing:
        """Return the listing *key*, made anew where it is more than a second old."""
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept[0] < _SECONDS:
            return kept[1]
        made = make()
        now = time.monotonic()
        with self._turn:
            fresh = {other: (at, listing) for other, (at, listing) in self._kept.items() if now - at < _SECONDS}
            self._kept = {key: (now, made)} if len(fresh) >= _MANY else {**fresh, key: (now, made)}
        return made
