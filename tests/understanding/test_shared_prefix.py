"""A group that shares its image and prompt: the same tokens, log-probabilities and gradients as in TRL's own trainer."""

import subprocess
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny_trainers import Counting, G, assert_same_numbers, groups, llava, make_trainer, questions, qwen2_5, qwen3, scored
from trl.data_utils import prepare_multimodal_messages

from understanding.packing import pack, take_rows


@pytest.fixture
def trainer(tmp_path):
    return partial(make_trainer, tmp_path)


@pytest.mark.parametrize("architecture", [qwen2_5, qwen3, llava])
@pytest.mark.parametrize("lora", [False, True])
def test_log_probabilities_and_gradients_are_those_of_the_plain_trainer(trainer, monkeypatch, architecture, lora):
    plain = scored(trainer(False, architecture, lora), monkeypatch, 4)
    sharing = trainer(True, architecture, lora)
    shared = scored(sharing, monkeypatch, 4)
    assert sharing.shares_prefix
    if lora:
        assert (plain[0]["ref_per_token_logps"] - plain[1]["logps"]).abs().max() > 0.1, (
            "the adapter stayed on for the reference"
        )
    assert_same_numbers(plain, shared)


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ("eager", {}),
        ("sdpa", {"gradient_checkpointing": True}),
        ("sdpa", {"entropy_coef": 0.5}),
        ("sdpa", {"mask_truncated_completions": True, "loss_type": "dr_grpo"}),
        ("sdpa", {"pad_to_multiple_of": 16, "num_iterations": 2}),
        ("sdpa", {"per_device_train_batch_size": G, "steps_per_generation": 2, "top_entropy_quantile": 0.5}),
    ],
)
def test_the_numbers_stay_the_same_whatever_the_trainer_is_told(trainer, monkeypatch, kernel, options):
    plain = scored(trainer(False, kernel=kernel, **options), monkeypatch, 4)
    sharing = trainer(True, kernel=kernel, **options)
    shared = scored(sharing, monkeypatch, 4)
    assert sharing.shares_prefix
    assert_same_numbers(plain, shared)


@pytest.mark.parametrize("architecture", [qwen2_5, qwen3, llava])
@pytest.mark.parametrize("sampling", [{"do_sample": False}, {"do_sample": True}])
def test_sampling_gives_the_plain_trainers_tokens(trainer, architecture, sampling):
    batches = []
    for share in (False, True):
        sampler = trainer(share, architecture, lora=True, generation_kwargs=sampling)
        torch.manual_seed(3)
        batches.append(sampler._generate_and_score_completions(groups(4)))
        assert sampler.shares_prefix is share
    plain, shared = batches
    assert torch.equal(plain["completion_ids"], shared["completion_ids"])
    assert torch.equal(plain["completion_mask"], shared["completion_mask"])
    lengths = plain["completion_mask"].sum(1)
    assert lengths.min() < lengths.max(), "some answers must end before others"
    if sampling["do_sample"]:
        assert len({tuple(row.tolist()) for row in plain["completion_ids"][:G]}) > 1


def test_a_whole_step_leaves_the_plain_trainers_weights(trainer):
    """Sampled answers, two micro-batches of two groups, the update: only the rounding differs."""
    weights = []
    for share in (False, True):
        whole = trainer(share, lora=True, gradient_accumulation_steps=2, optim="sgd", learning_rate=1.0)
        before = {name: each.detach().clone() for name, each in whole.model.named_parameters() if each.requires_grad}
        whole.train()
        assert whole.shares_prefix is share
        weights.append({name: each.detach() for name, each in whole.model.named_parameters() if each.requires_grad})
    for name, plain in weights[0].items():
        change, difference = (plain - before[name]).norm(), (plain - weights[1][name]).norm()
        assert change > 0
        assert difference <= 1e-4 * change, name


def test_image_and_prompt_are_run_once_for_a_group(trainer):
    """In one step, sampling, reference and update: the processor's images, the vision tower's patches, the tokens."""
    counted = {}
    for share in (False, True):
        step = trainer(share, lora=True, learning_rate=0.0, generation_kwargs={"do_sample": False})
        base = step.model.get_base_model().model
        seen = counted[share] = {"patches": [], "tokens": []}
        base.visual.register_forward_pre_hook(lambda _, inputs, to=seen: to["patches"].append(len(inputs[0])))
        base.language_model.register_forward_pre_hook(
            lambda _, inputs, kwargs, to=seen: to["tokens"].append(kwargs["inputs_embeds"].shape[:2].numel()),
            with_kwargs=True,
        )
        step._compared = True  # the one comparison of both ways is not part of a step
        Counting.images.clear()
        batch = step._prepare_inputs(groups(2))
        step.current_gradient_accumulation_steps = 1
        step._compute_loss(step.model, batch)
        seen["images"] = sum(Counting.images)
        prompt, answer = batch["prompt_ids"].size(1), batch["completion_ids"].size(1)
    plain, shared = counted[False], counted[True]
    assert (plain["images"], shared["images"]) == (2 * 2 * G, 2)
    assert len(shared["patches"]) == 3
    assert shared["patches"] == [plain["patches"][1] // G] * 3, "sampling, reference, update"
    decoded = 2 * G * answer
    assert sum(shared["tokens"]) == 3 * 2 * (prompt - 1) + 2 * decoded + decoded
    assert sum(plain["tokens"]) >= 3 * 2 * G * prompt


def test_groups_stay_whole_through_shuffling_and_accumulation(trainer):
    """Every micro-batch holds whole groups with their own images, and between them all answers, in a shuffled order."""
    options = {"per_device_train_batch_size": 2 * G, "gradient_accumulation_steps": 4}
    sharing = trainer(True, **options)
    ids, _, fields = sharing._tokenize_prompts(
        [prepare_multimodal_messages(row["prompt"], images=[row["image"]]) for row in groups(8)]
    )
    sharing.processing_class = sharing.processing_class.processor
    batches = []
    for sharing._step in range(4):
        batches.append(sharing._prepare_inputs(groups(8)))
    pixels = take_rows(fields, [1] * 8 * G, range(0, 8 * G, G))
    ends = pixels["image_grid_thw"].prod(-1).cumsum(0).tolist()
    images = [pixels["pixel_values"][start:end] for start, end in pairwise([0, *ends])]
    order = []
    for batch in batches:
        parts = batch["pixel_values"].split(batch["image_grid_thw"].prod(-1).tolist())
        assert len(batch["prompt_ids"]) == len(parts) == 2 * G
        for first in range(0, 2 * G, G):
            (question,) = [i for i, image in enumerate(images) if torch.equal(image, parts[first])]
            assert all(torch.equal(part, images[question]) for part in parts[first : first + G])
            for row in range(first, first + G):
                assert batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist() == ids[question * G]
            order.append(question)
        assert batch["advantages"].view(2, G).sum(1).abs().max() < 1e-4, "advantages of a group sum to 0"
    assert sorted(order) == list(range(8))
    assert order != sorted(order)


@pytest.mark.parametrize("half", ["weights", "autocast"])
def test_half_precision_shares(trainer, half):
    sharing = trainer(True, lora=True, bf16=half == "autocast")
    if half == "weights":
        sharing.model.to(torch.bfloat16)
    sharing.train()
    assert sharing.shares_prefix


def test_training_and_evaluation_run_and_are_logged(trainer):
    sharing = trainer(True, max_steps=2, gradient_accumulation_steps=2, num_generations_eval=2, per_device_eval_batch_size=4)
    sharing.train()
    scores = sharing.evaluate(Dataset.from_list(questions(5)))
    assert sharing.shares_prefix
    assert np.isfinite(scores["eval_loss"])
    assert any("kl" in entry for entry in sharing.state.log_history)


@pytest.mark.parametrize("launch", ["ddp", pytest.param("zero2", marks=pytest.mark.slow)])
def test_two_processes_take_the_plain_trainers_step(python, tmp_path, launch):
    one_machine = ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    one_machine += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    launchers = {
        "ddp": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
        "zero2": ["accelerate.commands.launch", *one_machine, "--use_deepspeed", "--zero_stage", "2"],
    }
    script = Path(__file__).with_name("two_processes_step.py")
    command = [python, "-m", *launchers[launch], str(script), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=500)
    assert result.returncode == 0, result.stderr[-3000:]
    weights = {}
    for mode in ("plain", "shared"):
        folder = tmp_path / mode
        assert (folder / "processes.txt").read_text() == f"2 {'DEEPSPEED' if launch == 'zero2' else 'MULTI_CPU'}"
        weights[mode] = {part: torch.load(folder / f"{part}.pt", weights_only=True) for part in ("adapter", "whole")}
    for part, plain in weights["plain"].items():
        for name, (before, after) in plain.items():
            change, difference = (after - before).norm(), (after - weights["shared"][part][name][1]).norm()
            assert change > 0
            assert difference <= 1e-4 * change, name


def test_a_packed_row_shows_an_answer_the_prompt_and_itself():
    ids = torch.tensor([[0, 5, 6, 7, 8], [0, 5, 6, 9, 1]])  # padding, a prompt of two tokens, answers of two
    mask = torch.tensor([[0, 1, 1, 1, 1], [0, 1, 1, 1, 0]])
    packed = pack(ids, mask, torch.tensor([[0, 0, 1]]), group=2, answer=2)
    assert packed["input_ids"].tolist() == [[0, 5, 6, 7, 6, 9]]
    assert packed["shift_labels"].tolist() == [[-100, -100, 7, 8, 9, -100]]
    assert packed["position_ids"].tolist() == [[0, 0, 1, 2, 1, 2]]
    assert packed["attention_mask"][0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 0, 0, 1, 0],
        [0, 1, 0, 0, 1, 1],
    ]


def test_rows_are_taken_with_their_images():
    fields = {"pixel_values": torch.arange(6)[:, None], "image_grid_thw": torch.tensor([[1, 1, 2], [1, 1, 1], [1, 1, 3]])}
    taken = take_rows(fields, [1, 0, 2], [2, 1, 0, 0])
    assert taken["pixel_values"].flatten().tolist() == [2, 3, 4, 5, 0, 1, 0, 1]
    assert taken["image_grid_thw"][:, 2].tolist() == [1, 3, 2, 2]
    with pytest.raises(ValueError, match="pixel_values belongs to which"):  # tiles: 5 of them, for 2 images
        take_rows({"pixel_values": torch.zeros(5, 3, 4, 4)}, [1, 1], [0])
