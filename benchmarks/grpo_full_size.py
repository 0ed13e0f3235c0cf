"""How fast a whole GRPO step is, and what memory it takes, at the size of Qwen2.5-VL-3B in bf16 on one GPU.

    python benchmarks/grpo_full_size.py
    python benchmarks/grpo_full_size.py miniature       # the same with a tiny model, on any machine, to try the script

As benchmarks/grpo_step.py, with a model of full size and random weights, so that nothing is downloaded: the LoRA, the
gradient checkpointing and the groups of config.yaml, images of 448 pixels (256 tokens), prompts of 350 tokens. First by the
length of answers; then by the questions of a forward pass, until the GPU's memory does not suffice: of TRL's trainer 32
at most, for its steps take minutes then. In "plain" rows TRL's own trainer takes the steps. In "shared" rows the answers to
a question share its image and prompt, in "compiled" rows grpo.compile_decoding does its part too. In "exact" rows nothing is
sampled (benchmarks/exact_step.py). "ms a token" leaves out the prompt, which TRL's trainer does not run by itself.

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
from torch._dynamo.utils import counters
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
ANSWERS, QUESTIONS = (8, 128, 32), 8
PASSES, PLAIN_MOST, ANSWER = (2, 32, 64, 128, 256), 32, 32  # questions of a forward pass, and tokens of an answer
WAYS = ("plain", "shared", "exact", "compiled")
COMPILED = (8, 64)  # questions of a forward pass: each number is compiled anew, for a minute or more
ROUNDS = 2
OPTIONS = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}, "bf16": True}
OPTIONS |= {"use_cpu": not torch.cuda.is_available()}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COLUMNS = ["sampling s", "ms a token", "scoring s", "update s", "step s", "questions/s", "peak GB"]
MINIATURE = sys.argv[1:] == ["miniature"]
if MINIATURE:
    TEXT |= {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 272}
    TEXT |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    TEXT["rope_parameters"] = TEXT["rope_parameters"] | {"mrope_section": [2, 3, 3]}
    VISION |= {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 64}
    VISION |= {"fullatt_block_indexes": [1]}
    PROMPT, PIXELS, ANSWERS, QUESTIONS, PASSES, ANSWER, ROUNDS, COMPILED = 100, 112, (4, 8), 2, (2, 3), 4, 1, (2,)


def main() -> None:
    if DEVICE == "cpu" and not MINIATURE:
        sys.exit("error: no GPU here, and models of full size need one; give the word miniature to try the script")
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU, in miniature, where nothing is compiled"
    print(f"{name}, torch {torch.__version__}, groups of {GROUP}, prompts of {PROMPT} tokens")
    cases = [(QUESTIONS, answer) for answer in ANSWERS]
    cases += [(questions, ANSWER) for questions in PASSES]
    rows, ended = {}, set()
    for questions, answer in cases:
        for way in WAYS:
            label = f"{questions} questions, {way if way == 'exact' else f'answers of {answer}, {way}'}"
            if way in ended or label in rows or (way == "plain" and questions > PLAIN_MOST):
                continue
            if way == "compiled" and questions not in COMPILED:
                continue
            try:
                rows[label] = measured_exact(questions) if way == "exact" else measured(way, answer, questions)
            except torch.OutOfMemoryError:
                rows[label], ended = [np.nan] * len(COLUMNS), ended | {way}
            free()
            print(label, *(f"{value:.2f}" for value in rows[label]), flush=True)
    print(f"\nmedian of {ROUNDS} steps; without any figure: more than the GPU's memory")
    print(pd.DataFrame(rows, COLUMNS).T.to_markdown(floatfmt=".2f"))


def measured(way: str, answer: int, questions: int) -> list[float]:
    """Return the COLUMNS of a row: medians of steps, after one to warm up, and to compile."""
    options = OPTIONS | {"compile_decoding": way == "compiled"}
    step = Step(way != "plain", PROMPT, answer, questions, PIXELS, make_full, lora_config(Understanding()), **options)
    step()
    steps, tokens = [], []
    for _ in range(ROUNDS):
        steps.append(with_peak(step))
        prompt = step.seconds.get("_continued", np.nan)
        tokens.append(1e3 * (step.seconds["_generate_single_turn"] - prompt) / answer)
    assert step.trainer.shares_prefix == (way != "plain"), "the model was found unable to share"
    if way == "compiled" and DEVICE == "cuda":
        assert counters["stats"]["unique_graphs"] == 1, counters
        assert not counters["graph_break"], counters
        assert not counters["inductor"]["cudagraph_skips"], counters
    sampling, *others = np.median([each for each, _ in steps], 0)
    whole = np.median([sum(each) for each, _ in steps])
    return [sampling, np.median(tokens), *others, whole, questions / whole, max(peak for _, peak in steps) / 1e3]


def measured_exact(questions: int) -> list[float]:
    """Return the COLUMNS of a row of exact answers: nothing is sampled, and scoring is the preparation of the batch."""
    step = ExactStep(PROMPT, questions, PIXELS, make_full, lora_config(Understanding()), **OPTIONS)
    step()
    steps = [with_peak(step) for _ in range(ROUNDS)]
    parts, whole = np.median([each for each, _ in steps], 0), np.median([sum(each) for each, _ in steps])
    return [0.0, np.nan, *parts, whole, questions / whole, max(peak for _, peak in steps) / 1e3]


def make_full(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    """Return a model of random weights in bf16, made where it runs."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(DEVICE):
            return make_model(tokenizer, TEXT, VISION, tie_word_embeddings=True)
    finally:
        torch.set_default_dtype(torch.float32)


def free() -> None:
    """Give back the memory of what is no longer used."""
    torch._dynamo.reset()  # which also holds memory of CUDA graphs
    counters.clear()
    gc.collect()
    torch.cuda.empty_cache()


if __name__ == "__main__":
    if not MINIATURE:
        take_no_arguments(__doc__)
    main()
