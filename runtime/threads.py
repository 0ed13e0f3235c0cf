"""How many threads a script computes with on a machine without a GPU."""

import os

from runtime.machine import has_gpu, processors
from runtime.run_folder import log

_untold: list[str] = []


def choose_threads() -> None:
    """Choose half of the processors, unless OMP_NUM_THREADS or a GPU is there. Call it before torch is imported.

    Threads wait for each other, and spin while they wait. With as many as there are processors, a program on one of them
    makes a training of small models three times as slow.
    """
    if "OMP_NUM_THREADS" in os.environ or has_gpu():
        return
    threads = max(1, processors() // 2)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    _untold.append(f"computing on {threads} of {processors()} processors (OMP_NUM_THREADS sets another number)")


def tell_threads() -> None:
    """Log what was chosen, once."""
    while _untold:
        log.info(_untold.pop())
