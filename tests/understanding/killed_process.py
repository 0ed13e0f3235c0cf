"""Runs understanding.py on two processes, of which the second is killed at a point of killed_runs.py; for test_processes.py.

python -m torch.distributed.run --nproc-per-node 2 killed_process.py settings.yaml [point]
"""

import importlib.util
import os
import sys

from killed_runs import POINTS, kill_at

from config.loading import load
from config.section import ROOT
from runtime.script import end_process_group


def main(config: str, *points: str) -> None:
    if os.environ["RANK"] == "1":
        for point in points:
            kill_at(*POINTS[point])
    spec = importlib.util.spec_from_file_location("understanding_script", ROOT / "understanding.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(load(["--config", config]))


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process_group()
