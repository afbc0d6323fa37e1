"""Exchange: two folders swap their names in one step."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING

from bundle.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def exchange(new: Path, old: Path) -> None:
    """Swap the two names, by renameat2(RENAME_EXCHANGE) where system and file system have it.

    Elsewhere by two renames: for a moment `old` does not exist, but it is never half of each.
    """
    code = _renameat2(new, old)
    if code == 0:
        return
    if code not in _UNSUPPORTED:
        raise BundleError(f"{old} cannot be replaced: {os.strerror(code)}")
    aside = new.with_name(f"{new.name}.old")
    try:
        old.rename(aside)
    except OSError as error:
        raise BundleError(f"{old} cannot be replaced: {error.strerror}") from error
    try:
        new.rename(old)
    except OSError as error:
        aside.rename(old)
        raise BundleError(f"{old} cannot be replaced: {error.strerror}") from error
    aside.rename(new)


def _renameat2(new: Path, old: Path) -> int:
    """0, or the error number."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return errno.ENOSYS
    arguments = (_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old))
    return 0 if call(*arguments, _RENAME_EXCHANGE) == 0 else ctypes.get_errno()
