"""A disk that takes no more, told as one error that names the file, whatever the library that wrote has made of it."""

import errno
import os
import traceback
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from config.errors import UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # by which a disk, a quota or a limit refuses to take more
PROBE = 1 << 20  # bytes that a disk with room takes


@contextmanager
def naming(path: Path, beside: Path | None = None) -> Iterator[None]:
    """Let a full disk be an OSError that names the file, while a file or a folder is written.

    Libraries hide it in errors of their own, which name no file, or not the one that it will be. path: what is written.
    beside: where it is written, until it is whole and renamed.
    """
    place = beside or path
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        code, has_number = _refused(error), isinstance(error, OSError) and error.errno
        if not code and not has_number:
            code = _refusal(path.parent if place.is_file() and not beside else place)  # nothing is added to what is whole
        named = _named(error)
        if (named and not named.is_relative_to(place)) or not (code or has_number):
            raise
        file = (named or (_written(error, place) if code else place)).relative_to(place)
        raise OSError(code or error.errno, os.strerror(code or error.errno), str(path / file)) from error


def no_room(error: Exception, places: Iterable[Path]) -> OSError | None:
    """Return what an error of any library is where a disk took no more: an OSError that names the file; else None.

    places: folders that were written into.
    """
    if isinstance(error, OSError) and error.errno in NO_ROOM and error.filename:
        return error
    places = [place for place in places if os.path.isdir(place)]  # which knows of names too long
    code, full = _refused(error), places
    if not code:
        refusals = {place: _refusal(place) for place in places}
        full = [place for place, refusal in refusals.items() if refusal]
        code = refusals[full[0]] if full else 0
    if not code:
        return None
    written = [path for place in full if (path := _written(error, place)) != place]
    return OSError(code, os.strerror(code), *map(str, written[:1] or full[:1]))


def _refused(error: BaseException | None) -> int:
    """Return the number by which an error, or what led to it, says that there is no room, or 0 where none does."""
    while error is not None:
        for code in NO_ROOM:
            if getattr(error, "errno", None) == code or f"os error {code})" in str(error) or os.strerror(code) in str(error):
                return code
        error = error.__cause__ or error.__context__
    return 0


def _refusal(place: Path) -> int:
    """Return the number by which the disk takes no more, in a file that failed or in a folder, or 0 where it takes some."""
    is_own = not place.is_file()
    probe = (place if place.is_dir() else place.parent) / f".{uuid.uuid4().hex}" if is_own else place
    try:
        with probe.open("ab", buffering=0) as file:
            left = PROBE
            while left:
                left -= file.write(bytes(left))  # which may take a part
            os.fsync(file.fileno())
        return 0
    except OSError as error:
        return error.errno if error.errno in NO_ROOM else 0
    finally:
        if is_own:
            with suppress(OSError):  # on a disk that is read alone it was never made
                probe.unlink()


def _named(error: Exception) -> Path | None:
    name = isinstance(error, OSError) and (error.filename2 or error.filename)
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None


def _written(error: Exception, place: Path) -> Path:
    """Return the file in `place` that was being written: that which the innermost function knew of, or else the newest.

    safetensors, for one, removes what it has not written whole.
    """
    if not place.is_dir():
        return place
    for frame, _ in reversed([*traceback.walk_tb(error.__traceback__)]):
        known = [Path(value) for value in frame.f_locals.values() if isinstance(value, str | Path) and value]
        if found := [path for path in known if path != place and path.is_relative_to(place) and not path.is_dir()]:
            return found[0]
    newest, when = place, 0
    for path in place.rglob("*"):
        with suppress(OSError):  # gone meanwhile
            if path.is_file() and path.stat().st_mtime_ns > when:
                newest, when = path, path.stat().st_mtime_ns
    return newest
