"""SIGTERM, as a cluster sends it before it kills: the first ends a script in order, with one line and code 143.

What has a checkpoint to save puts off the end until its update is done:

    with finishing_updates():
        for step in ...:
            ...
            if stop_is_asked():
                save_checkpoint(...)
                stop("a checkpoint was saved after update 120")
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from runtime.run_folder import is_first_process

CODE = 128 + signal.SIGTERM  # as a shell tells it
DOUBLED = 3  # seconds in which a launcher may pass on a signal that the cluster has sent to its workers too
_asked_at: float | None = None
_puts_off = False


class Stopped(SystemExit):
    """An end that all processes have agreed on."""


def end_by_sigterm() -> None:
    """Let SIGTERM end this process in order from now on. A second SIGTERM ends it at once.

    accelerate passes no signal on to a single process that it has launched. So the launcher's end counts as a SIGTERM.
    """
    signal.signal(signal.SIGTERM, _on_sigterm)
    os.register_at_fork(after_in_child=_in_child)
    if _is_launched():
        _end_with_parent(signal.SIGTERM)


@contextmanager
def finishing_updates() -> Iterator[None]:
    """Let SIGTERM wait, in the block, for the code that asks `stop_is_asked`."""
    global _puts_off
    _puts_off = True
    try:
        yield
    finally:
        _puts_off = False


@contextmanager
def nothing_to_save() -> Iterator[None]:
    """Let SIGTERM end the process at once in the block, within one where it waits."""
    global _puts_off
    before, _puts_off = _puts_off, False
    if has_sigterm() and before:
        stop_at_once()
    yield
    _puts_off = before


def stop_is_asked() -> bool:
    """Tell whether SIGTERM has reached this process, or any of those launched with it, which all ask together."""
    from runtime.processes import any_of  # it imports torch, for which a script's start does not wait

    return any_of(_asked_at is not None)


def has_sigterm() -> bool:
    """Tell whether SIGTERM has reached this process."""
    return _asked_at is not None


def stop(done: str) -> NoReturn:
    """End this process and the others, after stop_is_asked, with a line of what was done."""
    _say(done)
    raise Stopped(CODE)


def stop_at_once() -> NoReturn:
    """End this process, whatever the others do."""
    _say("what was finished is kept")
    raise SystemExit(CODE)


def _say(done: str) -> None:
    if is_first_process():
        os.write(2, f"\nterminated: {done}; run the same command again for the rest\n".encode())


def _on_sigterm(*_) -> None:
    global _asked_at
    if _asked_at is None:
        _asked_at = time.monotonic()
        if not _puts_off:
            stop_at_once()
    elif not _is_launched() or time.monotonic() - _asked_at > DOUBLED:
        os._exit(CODE)


def _is_launched() -> bool:
    return "RANK" in os.environ or "ACCELERATE_DYNAMO_BACKEND" in os.environ  # by torchrun, or by accelerate


def _end_with_parent(by: signal.Signals) -> None:
    """Let this process get a signal when the one that has started it is gone, however it ended."""
    if sys.platform == "linux":
        parent_dies = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(parent_dies, by)


def _in_child() -> None:
    """Give a forked process its SIGTERM back. Those that load batches hear it from their parent alone, and end with it.

    A cluster sends it to all, and an update that is to be finished needs its batches. Once nobody takes these any more, a
    process of torch would wait for ever to hand them over.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not _puts_off:
        return
    _end_with_parent(signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent = os.getppid()

    def listen() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(CODE)

    threading.Thread(target=listen, daemon=True).start()
