"""The training loop of the demo's models: it goes on from its checkpoint, and a full disk is said to be full."""

import errno
import os
import subprocess
from pathlib import Path

import pytest
import torch
from small_disk import room

from config.section import ROOT
from demo.making import fitting


def layer() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.2))


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """Return a function that fits a layer in four steps, a checkpoint after every second, and gives it and its losses."""
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 2)

    def run(name: str, ends_before: int | None = None) -> tuple[torch.nn.Module, list[float]]:
        torch.manual_seed(0)
        targets, losses = torch.randn(16, 3), []

        def loss_of(module, rows):
            if ends_before == len(losses) + 1:
                raise KeyboardInterrupt
            wanted = targets[rows].to(fitting.DEVICE)
            loss = (module(wanted) - wanted.roll(1, 1)).square().mean()
            losses.append(loss.item())
            return loss

        (tmp_path / name).mkdir(exist_ok=True)
        module = fitting.fit(tmp_path / name, "layer", layer, loss_of, steps=4, batch=8, rate=0.1, images=16, seed=0)
        return module, losses

    return run


def test_stopped_it_goes_on_from_its_checkpoint_to_the_same_weights(fit):
    whole, losses = fit("whole")
    assert len(losses) == 4
    with pytest.raises(KeyboardInterrupt):
        fit("stopped", ends_before=4)
    resumed, rest = fit("stopped")
    assert rest == losses[2:]
    for name, weight in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight)


def test_a_full_disk_is_said_to_be_full(fit, tmp_path):
    with room(1000), pytest.raises(OSError, match="File too large") as error:
        fit("full")
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(tmp_path / "full" / "layer-4.pt"))


def test_its_first_weights_are_the_seeds_whatever_was_drawn_before(tmp_path):
    options = dict(loss_of=None, steps=0, batch=8, rate=0.1, images=16, seed=3)
    first = fitting.fit(tmp_path, "layer", layer, **options)
    torch.rand(1)
    again = fitting.fit(tmp_path, "layer", layer, **options)
    other = fitting.fit(tmp_path, "layer", layer, **options | {"seed": 4})
    for weight, same, not_same in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, same)
        assert not torch.equal(weight, not_same)


def test_two_processes_fit_what_one_does(python, tmp_path):
    script = str(Path(__file__).with_name("two_processes_fit.py"))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for arguments in ([script, "alone"], [*launch, script, "together"]):
        (tmp_path / arguments[-1]).mkdir()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        ended = subprocess.run([python, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert not ended.returncode, ended.stderr[-3000:]
    alone, *both = (
        torch.load(tmp_path / name, weights_only=True)
        for name in ("alone/process 0 of 1.pt", "together/process 0 of 2.pt", "together/process 1 of 2.pt")
    )
    for weights in both:
        torch.testing.assert_close(weights["linear.weight"], alone["linear.weight"], rtol=1e-5, atol=1e-6)
    assert all(torch.equal(both[0][name], both[1][name]) for name in alone)  # also what a batch norm has counted


def test_muon_turns_the_matrices_of_convolutions_too_and_goes_on_from_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 2)
    images = torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def network() -> torch.nn.Module:
        parts = torch.nn.Conv2d(3, 12, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 12)
        return torch.nn.Sequential(*parts).to(memory_format=torch.channels_last)

    def loss_of(module, rows):
        batch = images[rows].to(fitting.DEVICE)
        return (module(batch) - batch.flatten(1)[:, :12]).square().mean()

    def fit(name: str, loss=loss_of, **changed) -> dict[str, torch.Tensor]:
        (tmp_path / name).mkdir(exist_ok=True)
        options = dict(steps=4, batch=8, rate=1e-3, images=16, seed=0, averaged=False, rate_of_matrices=0.1)
        return fitting.fit(tmp_path / name, "net", network, loss, **options | changed).state_dict()

    def stopped(module, rows):
        seen.append(rows)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return loss_of(module, rows)

    start, once, seen = fit("start", steps=0), fit("once"), []
    for name in ("0.weight", "3.weight"):
        lengths = torch.linalg.svdvals((once[name] - start[name]).flatten(1))
        assert lengths[0] < 4 * lengths[len(lengths) // 2], "steps are of like length in all directions"
    assert not torch.equal(once["0.weight"], fit("plain", rate_of_matrices=None)["0.weight"])
    with pytest.raises(KeyboardInterrupt):
        fit("again", stopped)
    again = fit("again")
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_muon_wants_convolutions_whose_matrices_are_views_of_them():
    with pytest.raises(RuntimeError, match="view"):
        fitting.optimizers_of(torch.nn.Conv2d(3, 12, 3), 1e-3, 0.1)
