"""Runs scripts as `python script arguments` does, each in a fork of a process that has imported slow libraries once."""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def warm_python(said: Path, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """Give a function that runs `python script arguments` in a folder, without importing slow libraries each time.

    said: a folder for what the scripts say.
    """
    quiet = {f"{library}_VERBOSITY": "error" for library in ("TRANSFORMERS", "DIFFUSERS")}  # as scripts set them
    files = [said / name for name in ("stdout", "stderr")]
    command = [sys.executable, __file__, *files]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment | quiet}
    with subprocess.Popen(command, **pipes) as warm:

        def run(folder: Path, *words: object) -> subprocess.CompletedProcess:
            print(json.dumps([str(folder), *map(str, words)]), file=warm.stdin, flush=True)
            status = int(warm.stdout.readline())
            return subprocess.CompletedProcess(words, status, *(file.read_text() for file in files))

        yield run


def serve(*said: str) -> None:
    """Run what comes: a line of JSON for each script, its folder and the words after `python`; answer its exit status.

    said: the files for what the scripts say.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # of what libraries say
    for library in ("datasets", "deepspeed", "diffusers", "matplotlib.figure", "pandas", "trl.trainer.grpo_trainer"):
        importlib.import_module(library)
    gc.freeze()  # what is there by now is not looked through again in every fork
    for line in sys.stdin:
        child = os.fork()
        if not child:
            for descriptor, path in enumerate((os.devnull, *said)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
            signal.alarm(600)  # a script that hangs ends
            folder, *sys.argv = json.loads(line)
            os.chdir(folder)
            sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
            runpy.run_path(sys.argv[0], run_name="__main__")
            sys.exit()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
