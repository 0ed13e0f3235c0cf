"""Whether vLLM may sample: prompts with images have reached it silently corrupted (TRL issues 6294 and 6718)."""

import importlib.util

import torch
from transformers import GenerationConfig
from trl import GRPOTrainer
from trl.data_utils import prepare_multimodal_messages

from config.errors import UserError
from runtime.run_folder import log

QUESTIONS = 4  # that are asked in both ways
TOKENS = 16  # of an answer that must agree: a corrupted prompt shows at once, rounding in half precision much later


def check_vllm_installed() -> None:
    """Raise UserError where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError("grpo.vllm: vllm is not installed; pip install vllm, on a machine with a GPU, or set it to false")


@torch.no_grad()
def check_vllm_agrees(trainer: GRPOTrainer) -> None:
    """Raise UserError where vLLM's greedy answers to the first questions are not those of transformers."""
    group, processor = trainer.num_generations, trainer.processing_class
    rows = [row for row in trainer.train_dataset.select(range(QUESTIONS)) for _ in range(group)]
    asked = trainer._tokenize_prompts([prepare_multimodal_messages(row["prompt"], images=[row["image"]]) for row in rows])
    trainer.processing_class = processor  # which a trainer that shares prompts has replaced
    sampler = trainer.vllm_generation

    sampler.temperature, temperature = 0.0, sampler.temperature
    by_vllm, *_ = trainer._generate_single_turn(*asked, group)
    sampler.temperature = temperature

    tokenizer = processor.tokenizer
    greedy = {"do_sample": False, "max_new_tokens": min(TOKENS, trainer.max_completion_length)}
    greedy |= {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": trainer.eos_token_ids}
    greedy |= {"repetition_penalty": trainer.repetition_penalty}
    # A trainer that samples with vLLM has no settings for transformers: they are there for the comparison alone.
    trainer.generation_config, trainer.generation_kwargs = GenerationConfig(**greedy, disable_compile=True), greedy
    trainer.use_vllm = False
    by_transformers, *_ = trainer._generate_single_turn(*asked, group)
    trainer.use_vllm = True
    del trainer.generation_config, trainer.generation_kwargs

    for one, other in zip(by_vllm, by_transformers, strict=True):
        if one[:TOKENS] != other[:TOKENS]:
            said = [tokenizer.decode(ids[:TOKENS]) for ids in (one, other)]
            raise UserError(
                f"grpo.vllm: to the same question vLLM answers {said[0]!r} and transformers {said[1]!r}, greedily;"
                " it may not see the image; set grpo.vllm=false"
            )
    log.info(f"vLLM gives the greedy answers of transformers to {QUESTIONS} questions")
