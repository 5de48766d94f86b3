"""The mount's table from errors to errnos, and what of them is worth a line in the log."""

from __future__ import annotations

import errno
import logging

from llmspellfs import errors

ERRNOS: dict[type[errors.SpellError], int] = {
    errors.SpellError: errno.EIO,
    errors.NotFound: errno.ENOENT,
    errors.AlreadyExists: errno.EEXIST,
    errors.NotAFolder: errno.ENOTDIR,
    errors.IsAFolder: errno.EISDIR,
    errors.NotEmpty: errno.ENOTEMPTY,
    errors.InvalidName: errno.EINVAL,
    errors.NameTooLong: errno.ENAMETOOLONG,
    errors.NameNotText: errno.EILSEQ,
    errors.InvalidValue: errno.EINVAL,
    errors.InvalidTransition: errno.EINVAL,
    errors.SessionNotActive: errno.EROFS,
    errors.ReadOnly: errno.EROFS,
    errors.SessionBusy: errno.EBUSY,
    errors.NotAllowed: errno.EACCES,
    errors.NotSupported: errno.EPERM,
    errors.LimitExceeded: errno.EDQUOT,
    errors.TooLarge: errno.EFBIG,
    errors.NoSpace: errno.ENOSPC,
    errors.StoreBusy: errno.EBUSY,
    errors.StoreUnusable: errno.EIO,
    errors.ConfigError: errno.EIO,
    errors.MountFailed: errno.EIO,
    errors.ScriptFailed: errno.EIO,
    errors.Vanished: errno.EBUSY,
    errors.Corrupt: errno.EIO,
}

_TELLING = frozenset({errno.EINVAL, errno.EDQUOT, errno.EFBIG, errno.ENOSPC, errno.EIO, errno.EBUSY})
"""An errno says too little in these cases: the message goes to the log."""

_log = logging.getLogger(__name__)


def errno_of(error: Exception, call: str) -> int:
    """Return the errno for *error*, which ended *call*; log it where an errno leaves people guessing."""
    if isinstance(error, errors.SpellError):
        code = ERRNOS.get(type(error)) or _inherited(type(error))
        if code in _TELLING:
            _log.warning("%s: %s (%s)", call, error.message, errno.errorcode[code])
        return code
    if isinstance(error, OSError) and error.errno:
        return error.errno
    _log.error("%s: unforeseen", call, exc_info=error)
    return errno.EIO


def _inherited(kind: type[errors.SpellError]) -> int:
    return next(ERRNOS[base] for base in kind.__mro__ if base in ERRNOS)
