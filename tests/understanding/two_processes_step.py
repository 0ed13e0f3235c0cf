"""One step of GRPO on two processes, plain or shared, for test_shared_prefix.py: the trained weights before and after."""

import os
import sys
from pathlib import Path

import torch
from tiny_trainers import make_trainer


def main(folder: Path, mode: str) -> None:
    options = {"optim": "sgd", "learning_rate": 1.0, "gradient_accumulation_steps": 2, "max_grad_norm": 0.0}
    own = folder / f"process_{os.environ['RANK']}"
    own.mkdir()
    trainer = make_trainer(own, mode == "shared", lora=True, **options)
    before = {name: each.detach().clone() for name, each in trainer.model.named_parameters() if each.requires_grad}
    trainer.train()
    assert trainer.shares_prefix is (mode == "shared")
    after = {name: (before[name], each.detach()) for name, each in trainer.model.named_parameters() if name in before}
    if trainer.accelerator.is_main_process:
        state = trainer.accelerator.state
        (folder / "processes.txt").write_text(f"{state.num_processes} {state.distributed_type.value}")
        torch.save(after, folder / "weights.pt")
    trainer.accelerator.wait_for_everyone()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
