"""What the machine has, told without torch, whose import takes seconds."""

import os
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU


def processors() -> int:
    """Return how many processors this process may run on, which taskset or a cluster may have made fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has none


def has_gpu() -> bool:
    """Tell whether there is a GPU of NVIDIA's, by its driver."""
    return DRIVER.is_dir()
