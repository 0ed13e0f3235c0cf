"""Decoding with a static cache, compiled: the tokens, the updates and the memory, and how often it is compiled."""

import logging
from functools import partial

import pytest
import torch
from tiny_trainers import TEXT, G, groups, llava, make_trainer, qwen2_5, qwen3
from torch._dynamo.utils import counters
from transformers import CompileConfig, DynamicCache, LlavaForConditionalGeneration, MistralConfig

from config.errors import UserError
from config.understanding_settings import Understanding
from understanding.grpo import can_compile
from understanding.static_prefix import StaticPrefix
from understanding.trainers import spare_frozen


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """Makes trainers that compile without a GPU too: the graph alone, and no kernels."""
    torch._dynamo.reset()
    counters.clear()
    compiled = CompileConfig(dynamic=False, backend="eager", mode=None)
    compiled._compile_all_devices = True
    monkeypatch.setattr("understanding.shared_prefix.COMPILED", compiled)
    return partial(make_trainer, tmp_path, True)


def compiled_graphs() -> int:
    assert not counters["graph_break"], "a step in several graphs is several launches"
    return counters["stats"]["unique_graphs"]


def mistral() -> LlavaForConditionalGeneration:
    """A model whose config names a window, which is longer than all that it reads."""
    config = llava().config
    config.text_config = MistralConfig(**TEXT, head_dim=8, sliding_window=4096)
    return LlavaForConditionalGeneration(config)


@pytest.mark.parametrize("architecture", [qwen2_5, qwen3, llava])
@pytest.mark.parametrize("sampling", [{"do_sample": False}, {"do_sample": True}])
def test_compiled_decoding_gives_the_same_tokens(trainer, architecture, sampling):
    questions, found = groups(8), []
    batches = [questions[: 2 * G], questions[2 * G : 4 * G], questions[: 2 * G]]  # prompts of other lengths
    for compile_decoding in (False, True):
        sampler = trainer(architecture, lora=True, generation_kwargs=sampling, compile_decoding=compile_decoding)
        torch.manual_seed(3)
        found.append([sampler._generate_and_score_completions(batch)["completion_ids"] for batch in batches])
        assert sampler.shares_prefix
        assert compiled_graphs() == compile_decoding
    assert all(torch.equal(plain, compiled) for plain, compiled in zip(*found, strict=True))
    assert max(each.size(1) for each in found[0]) > 2, "a first token is not decoded by the compiled step"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lora": False},
        {"bf16": True},
        {"lora": False, "bf16": True},  # keys in float32, values in bfloat16
        {"gradient_checkpointing": True},
        {"architecture": mistral},
    ],
)
def test_updates_are_the_same_and_compile_nothing_anew(trainer, options):
    options = {"lora": True, "learning_rate": 1e-3, "max_steps": 3} | options
    weights = []
    for compile_decoding in (False, True):
        trained = trainer(compile_decoding=compile_decoding, **options)
        spare_frozen(trained.model)  # as in understanding.py; without it, TRL adds hooks at each update
        trained.train()
        weights.append({name: each.detach() for name, each in trained.model.named_parameters()})
    assert compiled_graphs() == 1
    assert all(torch.equal(each, weights[1][name]) for name, each in weights[0].items())


def test_a_compiler_that_fails_is_told_in_one_line(trainer, monkeypatch):
    def failing(graph, inputs):
        raise RuntimeError("no compiler here\nand a long story")

    failing_too = CompileConfig(dynamic=False, backend=failing, mode=None)
    failing_too._compile_all_devices = True
    monkeypatch.setattr("understanding.shared_prefix.COMPILED", failing_too)
    with pytest.raises(UserError, match=r"^grpo\.compile_decoding: torch\.compile failed \(no compiler here\); set grpo"):
        trainer(compile_decoding=True)._generate_and_score_completions(groups(2))


def test_a_step_compiled_wrongly_is_refused(trainer, monkeypatch):
    def wrong(graph, inputs):
        return lambda *given: [1.5 * each if each.is_floating_point() else each for each in graph.forward(*given)]

    compiled_wrongly = CompileConfig(dynamic=False, backend=wrong, mode=None)
    compiled_wrongly._compile_all_devices = True
    monkeypatch.setattr("understanding.shared_prefix.COMPILED", compiled_wrongly)
    with pytest.raises(UserError, match=r"^grpo\.compile_decoding: the compiled step's logits lie 0\.5 of their norm"):
        trainer(compile_decoding=True)._generate_and_score_completions(groups(2))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({}, ""),
        ({"torch.cuda.is_available": False}, "there is no GPU here"),
        ({"understanding.grpo.has_triton": False}, "Triton is not installed"),
        ({"understanding.grpo.is_deepspeed_zero3_enabled": True}, "ZeRO-3 gathers"),
        ({"four_bit": True}, "weights of 4 bits"),
    ],
)
def test_what_cannot_be_compiled_is_told(monkeypatch, caplog, found, reason):
    usual = {"torch.cuda.is_available": True, "understanding.grpo.has_triton": True}
    for name, value in (usual | {name: value for name, value in found.items() if "." in name}).items():
        monkeypatch.setattr(name, lambda value=value: value)
    monkeypatch.setattr("understanding.grpo.log", logging.getLogger("heard"))
    assert can_compile(Understanding(four_bit="four_bit" in found)) == (not reason)
    assert [reason in line for line in caplog.messages] == [True] * bool(reason)


@pytest.mark.slow
def test_kernels_give_the_same_tokens(trainer, monkeypatch):
    compiled = CompileConfig(dynamic=False, mode="default")
    compiled._compile_all_devices = True
    monkeypatch.setattr("understanding.shared_prefix.COMPILED", compiled)
    plain, kernels = (
        trainer(
            lora=True, generation_kwargs={"do_sample": False}, compile_decoding=compile_decoding
        )._generate_and_score_completions(groups(2))["completion_ids"]
        for compile_decoding in (False, True)
    )
    assert compiled_graphs() == 1
    assert torch.equal(plain, kernels)


def test_the_cache_keeps_its_place_until_it_is_too_small():
    static = StaticPrefix(qwen2_5())

    def held(rows: int, length: int, tokens: int):
        prefix = DynamicCache()
        for layer in range(2):
            prefix.update(*torch.randn(2, rows, 2, length, 8), layer)
        cache = static(prefix, G, tokens)
        for layer, original in zip(cache.layers, prefix.layers, strict=True):
            for now, before in ((layer.keys, original.keys), (layer.values, original.values)):
                assert torch.equal(now[:, :, :length], before.repeat_interleave(G, 0))
                assert not now[:, :, length:].any(), "what an earlier answer left"
        assert cache.get_seq_length() == length
        return cache.layers[0].keys

    first = held(2, 40, 60)
    first[:, :, 40:] = 1
    assert held(2, 20, 128).data_ptr() == first.data_ptr()
    larger = held(2, 100, 129)
    assert (first.shape, larger.shape) == ((2 * G, 2, 128, 8), (2 * G, 2, 256, 8))
    assert held(2, 40, 60).data_ptr() == larger.data_ptr()
    assert held(1, 40, 60).shape == (G, 2, 256, 8)
