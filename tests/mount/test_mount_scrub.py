"""Behind a mount its store is read again, little by little; what is harmed is in the log and in the figures."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from llmspellfs import open_store

if TYPE_CHECKING:
    from tests.mount.live import Mounted


def test_a_mount_scrubs_its_store_and_says_what_is_harmed(own: Mounted) -> None:
    with open_store(own.store) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "big", os.urandom(300_000))
        with store.engine.index.write() as db:  # as if the scrub had begun long ago
            db.execute("INSERT INTO store (key, value) VALUES ('scrub', '{\"began_ns\": 1}')")
    blob = next(own.store.glob("blobs/*/*"))
    whole = blob.read_bytes()
    blob.write_bytes(b"\0" * 10 + whole[10:])
    own.mount()
    deadline = time.monotonic() + 60
    with open_store(own.store) as store:
        while not store.upkeep.stats().scrub.harmed:
            assert time.monotonic() < deadline, "the harm was not found"
            time.sleep(0.2)
    began = time.monotonic()
    own.umount()
    assert time.monotonic() - began < 30
    log = (own.store / "mount.log").read_text()
    assert log.count("harmed: s:big") == 1
    blob.write_bytes(whole)
    (own.store / "mount.log").write_text("")
