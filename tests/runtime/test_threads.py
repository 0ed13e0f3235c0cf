"""How many threads a script takes: half of the processors, or what the user says."""

import logging
import os

import pytest

from runtime import threads


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with four processors and no GPU, on which nothing is chosen yet."""
    monkeypatch.setattr("runtime.machine.DRIVER", tmp_path / "none")
    monkeypatch.setattr(threads, "_untold", [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OMP_NUM_THREADS")
    return monkeypatch


def told(caplog, monkeypatch) -> list[str]:
    monkeypatch.setattr(threads, "log", logging.getLogger("threads"))
    with caplog.at_level(logging.INFO):
        threads.tell_threads()
        threads.tell_threads()
    return caplog.messages


def test_half_of_the_processors_are_taken_and_it_is_told_once(machine, caplog):
    threads.choose_threads()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert told(caplog, machine) == ["computing on 2 of 4 processors (OMP_NUM_THREADS sets another number)"]


def test_one_processor_is_taken(machine):
    machine.setattr(os, "sched_getaffinity", lambda _: {0})
    threads.choose_threads()
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_what_the_user_says_stays(machine, caplog):
    machine.setenv("OMP_NUM_THREADS", "3")
    threads.choose_threads()
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert told(caplog, machine) == []


def test_with_a_gpu_nothing_is_chosen(machine, tmp_path, caplog):
    machine.setattr("runtime.machine.DRIVER", tmp_path)
    threads.choose_threads()
    assert "OMP_NUM_THREADS" not in os.environ
    assert told(caplog, machine) == []
