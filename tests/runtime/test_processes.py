"""Work that several processes share: each item is made once, by one of them, and all leave together."""

import json
import os
import socket
import subprocess

from config.section import ROOT
from runtime.processes import shared_work

SHARE = """
import json, sys
from pathlib import Path
from runtime.processes import any_of, of_first, shared_work, start_process
from runtime.script import end_process_group

folder, items = Path(sys.argv[1]), ["a", "b", "c", "d", "e"]
with shared_work(items, lambda item: not (folder / item).exists()) as (missing, mine):
    for item in mine:
        (folder / item).write_text(str(start_process().process_index))
there = sorted(path.name for path in folder.iterdir() if len(path.name) == 1)
index = start_process().process_index
agreed = [any_of(index == 1), any_of(False), of_first(lambda: f"found by {index}")]
(folder / f"process-{index}.json").write_text(json.dumps([missing, mine, there, agreed]))
end_process_group()
"""


def test_one_process_makes_all_that_is_missing():
    with shared_work(["a", "b", "c"], lambda item: item != "b") as (missing, mine):
        assert missing == mine == ["a", "c"]


def test_nothing_to_do():
    with shared_work([], lambda item: True) as (missing, mine):
        assert missing == mine == []
    with shared_work([1, 2], lambda item: False) as (missing, mine):
        assert missing == mine == []


def environment(rank: int, port: int) -> dict[str, str]:
    """Return what a process needs to know of two that were launched together."""
    launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return os.environ | {name: str(value) for name, value in launched.items()} | {"PYTHONPATH": str(ROOT)}


def test_two_processes_share_it_and_agree(python, tmp_path):
    (tmp_path / "c").write_text("was there")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-c", SHARE, str(tmp_path)]
    processes = [subprocess.Popen(command, env=environment(rank, port), stderr=subprocess.PIPE) for rank in range(2)]
    errors = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    seen = [json.loads((tmp_path / f"process-{rank}.json").read_text()) for rank in range(2)]
    everything = ["a", "b", "c", "d", "e"]
    made, agreed = ["a", "b", "d", "e"], [True, False, "found by 0"]
    assert seen == [[made, ["a", "d"], everything, agreed], [made, ["b", "e"], everything, agreed]]
    assert {name: (tmp_path / name).read_text() for name in everything} == dict(a="0", b="1", c="was there", d="0", e="1")
