"""A store that is mounted at two places."""

from __future__ import annotations

from pathlib import Path

from llmspellfs.fuse.mountpoint import mounted_kind
from tests.mount.live import Mounted


class Pair:
    """A second mount, at *path*, of the store that *live* has mounted."""

    def __init__(self, live: Mounted, path: Path) -> None:
        self.live, self.path = live, path
        path.mkdir()
        live.command("mount", str(path))

    def there(self, here: Path) -> Path:
        """Return where what is at *here* is in the other mount."""
        return self.path / here.relative_to(self.live.path)

    def end(self) -> None:
        if mounted_kind(str(self.path)) is not None:
            self.live.command("umount", str(self.path))
