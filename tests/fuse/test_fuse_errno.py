"""The table of errnos: whole, and as the design has it."""

from __future__ import annotations

import errno
import inspect
import logging

import pytest

from llmspellfs import errors
from llmspellfs.fuse.errno import ERRNOS, errno_of


def test_every_class_of_errors_has_an_errno() -> None:
    classes = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.SpellError)}
    assert set(ERRNOS) == classes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("session", "x"), errno.ENOENT),
        (errors.NameTooLong("x", "too long"), errno.ENAMETOOLONG),
        (errors.NameNotText("x", "not UTF-8"), errno.EILSEQ),
        (errors.InvalidTransition("s", "completed", "resume"), errno.EINVAL),
        (errors.SessionNotActive("s", "failed"), errno.EROFS),
        (errors.NotAllowed("other session"), errno.EACCES),
        (errors.NotSupported("hard link"), errno.EPERM),
        (errors.LimitExceeded("max_sessions", 1), errno.EDQUOT),
        (errors.Corrupt("chunk"), errno.EIO),
        (OSError(errno.ENODATA, "none"), errno.ENODATA),
        (ZeroDivisionError(), errno.EIO),
    ],
)
def test_errors_become_their_errnos(error: Exception, code: int) -> None:
    assert errno_of(error, "getattr") == code


def test_an_error_without_a_place_of_its_own_takes_that_of_its_base() -> None:
    class Special(errors.NameTooLong): ...

    assert errno_of(Special("x", "y"), "mkdir") == errno.ENAMETOOLONG


def test_the_unforeseen_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 // 0
    assert errno_of(caught.value, "read") == errno.EIO
    assert caplog.records[0].levelno == logging.ERROR
    assert "Traceback" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_the_reason_of_an_einval_is_in_the_log_and_an_enoent_is_not(caplog: pytest.LogCaptureFixture) -> None:
    errno_of(errors.NotFound("file", "x"), "getattr")
    errno_of(errors.InvalidValue("query", "unknown word at column 3"), "opendir")
    assert caplog.messages == ["opendir: query: unknown word at column 3 (EINVAL)"]
