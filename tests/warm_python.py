"""A `python` that starts at once: what it runs is a fork of a process that has imported slow libraries once.

    with warm_python() as python:
        subprocess.run([python, "training/main.py", "seed=1"])

`python` is a small program. It hands its arguments, folder, environment and streams to the process that forks, passes on
signals, and ends as the fork does. If it is killed, so is the fork. What a fork starts by `sys.executable`, as accelerate
does, is such a fork too.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

LIBRARIES = (
    "datasets",
    "deepspeed",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "matplotlib.figure",
    "pandas",
    "scipy.stats",
    "sklearn.linear_model",
    "torchmetrics",
    "transformers.models.clip.modeling_clip",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
    "trl.trainer.grpo_trainer",
)
CLIENT = """
import json, os, signal, socket, sys

with socket.socket(socket.AF_UNIX) as link:
    link.connect({address!r})
    socket.send_fds(link, [b"."], [0, 1, 2])
    link.sendall(json.dumps([os.getcwd(), dict(os.environ), sys.argv[1:]]).encode() + b"\\n")
    answers = link.makefile()
    fork = int(answers.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(fork, number))
    status = int(answers.readline())
if status < 0:  # a signal ended it
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


@contextmanager
def warm_python() -> Iterator[str]:
    """Give the path of a `python` that starts at once, with one thread and, for DeepSpeed, on CPUs."""
    quiet = {f"{library}_VERBOSITY": "error" for library in ("TRANSFORMERS", "DIFFUSERS")}  # as scripts set them
    found = {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}  # of what libraries say
    with tempfile.TemporaryDirectory() as folder:
        python, client, address = (Path(folder) / name for name in ("python", "client.py", "socket"))
        client.write_text(CLIENT.format(address=str(address)))
        python.write_text(f"""#!/bin/sh\nexec '{sys.executable}' -IS '{client}' "$@"\n""")
        python.chmod(0o755)
        with subprocess.Popen([sys.executable, __file__, python, address], **piped, env=os.environ | quiet | found) as warm:
            assert warm.stdout.readline(), "it ended while it imported"
            yield str(python)


def serve(python: str, address: str) -> None:
    """Fork for whoever asks at the address, until the standard input ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    for library in LIBRARIES:
        importlib.import_module(library)
    sys.executable = python
    sys.modules["deepspeed.ops"].__compatible_ops__["deepspeed_shm_comm"] = False  # or C++ is compiled for a minute
    gc.freeze()  # what is there by now is not looked through again in every fork
    print("ready", flush=True)
    forks = {}  # by a descriptor that can be read once the fork has ended: its process id, and the link to who waits for it
    while True:
        readable, *_ = select.select([0, listener, *forks, *(link for _, link in forks.values())], [], [])
        if 0 in readable:
            return
        for ended, (process, link) in list(forks.items()):
            if ended in readable:
                status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                with suppress(BrokenPipeError):
                    link.sendall(b"%d\n" % status)
                link.close()
                os.close(ended)
                del forks[ended]
            elif link in readable:  # who waits is gone
                os.kill(process, signal.SIGKILL)
        if listener in readable:
            link, _ = listener.accept()
            _, streams, *_ = socket.recv_fds(link, 1, 3)
            asked = json.loads(link.makefile().readline())
            process = os.fork()
            if not process:
                run_and_end(streams, *asked)
            for stream in streams:
                os.close(stream)
            link.sendall(b"%d\n" % process)
            forks[os.pidfd_open(process)] = process, link


def run_and_end(streams: list[int], folder: str, environment: dict[str, str], words: list[str]) -> NoReturn:
    """Do what `python` does with these words after it, but for taking all apart at its end, which takes long."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.alarm(600)  # a script that hangs ends
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell's background job ignores it
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.modules["torch"].set_num_threads(int(environment.get("OMP_NUM_THREADS", 1)))  # which it read when it was imported
    code = 1
    try:
        try:
            run(*words[words[0] == "-u" :])
            code = 0
        except Exception:
            sys.excepthook(*sys.exc_info())
    except SystemExit as end:
        code = end.code or 0
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if isinstance(code, str) else code)


def run(first: str, *words: str) -> None:
    """Run a script, or -m and a module, or -c and code, with the words after it as arguments."""
    where = {"-m": os.getcwd(), "-c": ""}.get(first, os.path.dirname(os.path.abspath(first)))
    sys.path[:1] = [where, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [first, *words[first in ("-m", "-c") :]]
    if first == "-c":
        exec(words[0], {"__name__": "__main__"})
    elif first == "-m":
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    serve(*sys.argv[1:])
