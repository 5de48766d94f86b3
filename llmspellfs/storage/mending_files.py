"""Repairs of a store's folder: what others may use is its owner's alone again."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from llmspellfs.storage import disk
from llmspellfs.storage.audit_files import exposed
from llmspellfs.storage.mending import Done


def mend_modes(root: str) -> list[Done]:
    """Take every right of others from what is in the store at *root*, and give what others own to its owner.

    Links are left as they are, and so is what this process may not change.
    """
    top = os.lstat(root)
    count = 0
    for strange in list(exposed(root)):
        path = os.path.normpath(f"{root}/{strange.path}")
        with suppress(OSError):
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                continue
            if status.st_uid != top.st_uid:
                disk.chown("mode.chown", path, top.st_uid, top.st_gid, follow_symlinks=False)
            if status.st_mode & 0o077:
                disk.chmod("mode.chmod", path, stat.S_IMODE(status.st_mode) & 0o700)
            count += 1
    return [Done("mode", f"{count} modes and owners set right")] if count else []
