"""The commands that README.md and docs/ tell a reader to type."""

import re
import shlex

from accelerate.commands.launch import launch_command_parser

from config.section import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.S | re.M)
INLINE = re.compile(r"`(?:[A-Z_]+=\S+ )*((?:python|accelerate launch) [^`]*\.py[^`]*)`")  # without its environment
# What no test runs, by how it begins.
CANNOT_RUN = {
    "git clone": "names a place that a reader fills in",
    "conda env create": "downloads an environment",
    "conda activate": "changes the reader's shell",
    "pip install": "installs",
    "docker build": "needs a daemon",
    "docker run": "needs a daemon",
    "tensorboard": "serves until it is stopped",
    "make": "installs first; its targets are looked up",
}


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.name, text) for page in PAGES for _, told, text in FENCE.findall(page.read_text("utf-8")) if told == language
    ]


def commands() -> list[tuple[str, str]]:
    """Return (page, command) for every line of a block of commands, and for every script that a sentence tells to run."""
    found = []
    for page, text in [*blocks(""), *blocks("bash"), *blocks("sh")]:
        lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
        if any(line.startswith(("python ", "accelerate ", *CANNOT_RUN)) for line in lines):
            found += [(page, line) for line in lines]
    for page in PAGES:
        found += [(page.name, command) for command in INLINE.findall(FENCE.sub("", page.read_text("utf-8")))]
    return list(dict.fromkeys(found))


def on_processors(command: str) -> str:
    """Return a command for GPUs as processors run it: DeepSpeed's on two processes, and all in float32."""
    command = command.replace("--mixed_precision bf16", "--mixed_precision no")
    return command.replace("--use_deepspeed", "--use_deepspeed --num_processes 2 --num_machines 1 --mixed_precision no")


def script_and_arguments(command: str) -> tuple[str, list[str]]:
    """Return the script that a command starts, and its arguments; accelerate's own options must be such."""
    words = shlex.split(command, comments=True)
    if words[0] == "python":
        return words[1], words[2:]
    told = launch_command_parser().parse_args(words[2:])
    assert told.config_file is None or (ROOT / told.config_file).is_file()
    return told.training_script, told.training_script_args


PYTHON = [(page, command) for page, command in commands() if command.startswith(("python ", "accelerate "))]
