"""How many processors a script may use, and how many threads it computes with on a machine without a GPU."""

import os

from runtime.run_folder import DRIVER, log

_untold: list[str] = []


def processors() -> int:
    """Return how many processors this process may run on, which taskset or a cluster may have made fewer than there are."""
    return len(os.sched_getaffinity(0))


def choose_threads() -> None:
    """Choose half of the processors, unless OMP_NUM_THREADS or a GPU is there. Call it before torch is imported.

    Threads wait for each other, and spin while they wait. With as many as there are processors, a program on one of them
    makes a training of small models three times as slow.
    """
    if "OMP_NUM_THREADS" in os.environ or DRIVER.is_dir():
        return
    threads = max(1, processors() // 2)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    _untold.append(f"computing on {threads} of {processors()} processors (OMP_NUM_THREADS sets another number)")


def tell_threads() -> None:
    """Log what was chosen, once."""
    while _untold:
        log.info(_untold.pop())
