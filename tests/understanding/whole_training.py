"""Runs understanding.py with each of some configs, on as many processes as it is launched on; for test_processes.py.

Sampling differs from process to process by design. Here an answer follows from its prompt and its place in the group, and
the update is plain gradient descent, so that trainings are equal up to rounding where the questions and gradients are.
"""

import hashlib
import importlib.util
import random
import sys

import understanding.grpo
import understanding.trainers
from config.loading import load
from config.section import ROOT
from runtime.script import end_process_group
from understanding.thoughts import ThoughtTrainer

common_arguments = understanding.trainers.common_arguments
SGD = {"optim": "sgd", "max_grad_norm": 0.0}


def made_up(trainer, prompt_ids, images, *_):
    """Return answers of a few tokens, or thoughts with an answer, the same wherever a question is answered."""
    tokenizer, group = trainer.processing_class.tokenizer, trainer.num_generations
    words = ["yes", "no", "awe", "fear", "0", "70", "100"]
    if isinstance(trainer, ThoughtTrainer):
        words = ["no thought", *(f"<think>{word}</think><answer>yes</answer>" for word in words)]
    words = [tokenizer(word).input_ids for word in words]
    answers = []
    for place, (ids, shown) in enumerate(zip(prompt_ids, images, strict=True)):
        key = hashlib.blake2b(repr(ids).encode() + shown[0].tobytes()).hexdigest()
        answers.append([*random.Random(f"{key} {place % group}").choice(words), tokenizer.eos_token_id])
    return answers, None


def main(*configs: str) -> None:
    understanding.trainers.common_arguments = lambda *given: common_arguments(*given) | SGD
    for trainer in (understanding.grpo.Trainer, ThoughtTrainer):
        trainer._generate_single_turn = made_up
    spec = importlib.util.spec_from_file_location("understanding_script", ROOT / "understanding.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for config in configs:
        script.main(load(["--config", config]))


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process_group()
