"""Processes that share out work on many files."""

import gc
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection, parent_process

from runtime.machine import processors


def worker_pool(processes: int | None) -> ProcessPoolExecutor:
    """Return a pool of so many processes, one for each core if None, that ends with this process, however it ends."""
    return ProcessPoolExecutor(processes or processors(), initializer=_start)


def _start() -> None:
    """Leave Ctrl-C to the main process, and end when that is killed: the pool itself would leave its workers waiting."""
    gc.disable()  # a worker makes next to no cycles, and looking for them takes a tenth of its time
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch():
        connection.wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
