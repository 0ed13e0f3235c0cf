"""How fast a whole GRPO step is, and what memory it takes, at the size of Qwen2.5-VL-3B in bf16 on one GPU.

    python benchmarks/grpo_full_size.py

As benchmarks/grpo_step.py, with a model of full size and random weights, so that nothing is downloaded: the LoRA, the
gradient checkpointing and the groups of config.yaml, images of 448 pixels (256 tokens), prompts of 350 tokens. First by the
length of answers; then by the questions of a forward pass, until the GPU's memory does not suffice: of TRL's trainer 32
at most, for its steps take minutes then. Beside them stand updates by exact answers (benchmarks/exact_step.py), which sample
nothing.

With gradient checkpointing, transformers and TRL run the frozen vision tower backwards. Ours keeps gradients out of it
(`spare_frozen`), as understanding.py does, TRL's trainer here does not: a part of the speed-up, and of the memory, is that.
"""

import gc
import sys

import numpy as np
import pandas as pd
import torch
from exact_step import ExactStep
from grpo_step import GROUP, Step, make_model, with_peak
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from config.understanding_settings import Understanding
from runtime.script import take_no_arguments
from understanding.model import lora_config

# Qwen2.5-VL-3B's.
TEXT = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "vocab_size": 151936}
TEXT |= {"num_attention_heads": 16, "num_key_value_heads": 2, "max_window_layers": 70, "tie_word_embeddings": True}
TEXT |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}}
VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048}
VISION |= {"fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112}
PROMPT, PIXELS = 350, 448
ANSWERS, QUESTIONS = (8, 32), 8
PASSES, PLAIN_MOST, ANSWER = (2, 32, 64, 128, 256), 32, 32  # questions of a forward pass, and tokens of an answer
ROUNDS = 2
OPTIONS = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}, "bf16": True}
DEVICE = "cuda"
COLUMNS = ["sampling s", "scoring s", "update s", "step s", "questions/s", "peak GB"]


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("error: no GPU here, and models of full size need one; benchmarks/grpo_step.py measures small ones")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, groups of {GROUP}, prompts of {PROMPT} tokens")
    cases = [(QUESTIONS, answer) for answer in ANSWERS]
    cases += [(questions, ANSWER) for questions in PASSES]
    rows, ended = {}, set()
    for questions, answer in cases:
        for name in ("plain", "shared", "exact"):
            label = (
                f"{questions} questions, answers of {answer}, {name}" if name != "exact" else f"{questions} questions, exact"
            )
            if name in ended or label in rows or (name == "plain" and questions > PLAIN_MOST):
                continue
            try:
                rows[label] = measured(name == "shared", answer, questions) if name != "exact" else measured_exact(questions)
            except torch.OutOfMemoryError:
                rows[label], ended = [np.nan] * len(COLUMNS), ended | {name}
            free()
            print(label, *(f"{value:.2f}" for value in rows[label]), flush=True)
    print(f"\nmedian of {ROUNDS} steps; without figures: more than the GPU's memory")
    print(pd.DataFrame(rows, COLUMNS).T.to_markdown(floatfmt=".2f"))


def measured(share: bool, answer: int, questions: int) -> list[float]:
    """Return the COLUMNS of a row: medians of steps, after one to warm up."""
    step = Step(share, PROMPT, answer, questions, PIXELS, make_full, lora_config(Understanding()), **OPTIONS)
    step()
    steps = [with_peak(step) for _ in range(ROUNDS)]
    assert step.trainer.shares_prefix == share, "the model was found unable to share"
    seconds = [*np.median([each for each, _ in steps], 0), np.median([sum(each) for each, _ in steps])]
    return [*seconds, questions / seconds[-1], max(peak for _, peak in steps) / 1e3]


def measured_exact(questions: int) -> list[float]:
    """Return the COLUMNS of a row of exact answers: nothing is sampled, and scoring is the preparation of the batch."""
    step = ExactStep(PROMPT, questions, PIXELS, make_full, lora_config(Understanding()), **OPTIONS)
    step()
    steps = [with_peak(step) for _ in range(ROUNDS)]
    seconds = [0.0, *np.median([each for each, _ in steps], 0), np.median([sum(each) for each, _ in steps])]
    return [*seconds, questions / seconds[-1], max(peak for _, peak in steps) / 1e3]


def make_full(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    """Return a model of random weights in bf16, made on the GPU."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(DEVICE):
            return make_model(tokenizer, TEXT, VISION, tie_word_embeddings=True)
    finally:
        torch.set_default_dtype(torch.float32)


def free() -> None:
    """Give back the memory of what is no longer used."""
    gc.collect()
    torch.cuda.empty_cache()


if __name__ == "__main__":
    take_no_arguments(__doc__)
    main()
