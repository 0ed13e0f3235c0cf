"""One step of GRPO on two processes, plain or shared, for test_shared_prefix.py: the trained weights before and after."""

import importlib.util
import os
import sys
from pathlib import Path

import torch

FILE = Path(__file__).with_name("test_shared_prefix.py")


def main(folder: Path, mode: str) -> None:
    spec = importlib.util.spec_from_file_location("test_shared_prefix", FILE)
    test = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(test)
    options = {"optim": "sgd", "learning_rate": 1.0, "gradient_accumulation_steps": 2, "max_grad_norm": 0.0}
    own = folder / f"process_{os.environ['RANK']}"
    own.mkdir()
    trainer = test.make_trainer(own, mode == "shared", lora=True, **options)
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
