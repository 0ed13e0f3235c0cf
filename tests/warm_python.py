"""Runs scripts as `python script arguments` does, each in a fork of this process, which has imported slow libraries once.

    python warm_python.py stdout stderr

Reads a line of JSON for each, its folder and the words after `python`, and answers its exit status. What it says is in the
two files.
"""

import gc
import json
import os
import runpy
import sys

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # of what libraries say

import datasets  # noqa: F401
import deepspeed  # noqa: F401
import diffusers  # noqa: F401
import matplotlib.figure  # noqa: F401
import pandas  # noqa: F401
import transformers  # noqa: F401
import trl.trainer.grpo_trainer
import trl.trainer.sft_trainer  # noqa: F401

gc.freeze()  # what is there by now is not looked through again in every fork
for line in sys.stdin:
    child = os.fork()
    if not child:
        for descriptor, path in enumerate((os.devnull, *sys.argv[1:])):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
        folder, *sys.argv = json.loads(line)
        os.chdir(folder)
        sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
