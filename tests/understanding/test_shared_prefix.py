"""A group that shares its image and prompt: the same tokens, log-probabilities and gradients as in TRL's own trainer."""

import logging
import os
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from PIL import Image
from tokenizers import Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipVisionConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from trl import GRPOConfig
from trl.data_utils import prepare_multimodal_messages

from understanding.packing import pack, sharing_obstacle, take_rows
from understanding.shared_prefix import SharedPrefixGRPOTrainer

SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TEXT |= {"initializer_range": 0.2, "vocab_size": 272}  # wide: attention to a wrong token must show
MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
G = 4
ENDS = list(range(0, 256, 7))  # many bytes end an answer, so that a random model's answers have unequal lengths


class QwenProcessor(ProcessorMixin):
    """The Qwen-VL processor without its video part, which needs torchvision."""

    return_mm_token_type_ids = True

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
        self.image_token, self.image_token_id = "<|image_pad|>", tokenizer.convert_tokens_to_ids("<|image_pad|>")
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def replace_image_token(self, image_inputs, image_idx, **kwargs):
        return self.image_token * (image_inputs["image_grid_thw"][image_idx].prod() // self.image_processor.merge_size**2)


class Counting:
    """A processor's class with its calls written down."""

    images: ClassVar[list[int]] = []

    def __call__(self, images=None, **kwargs):
        Counting.images.append(0 if images is None else len(images))
        return super().__call__(images=images, **kwargs)


def tokenizer() -> PreTrainedTokenizerFast:
    letters = {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(letters, []))
    made.pre_tokenizer, made.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = {"pad_token": "<|pad|>", "eos_token": "<|im_end|>", "additional_special_tokens": SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side="left", **special)


def qwen2_5() -> Qwen2_5_VLForConditionalGeneration:
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32}
    vision |= {"window_size": 56, "fullatt_block_indexes": [1], "initializer_range": 0.2}
    config = Qwen2_5_VLConfig(text_config=TEXT | {"rope_parameters": MROPE}, vision_config=vision, **_ids())
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen3() -> Qwen3VLForConditionalGeneration:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "out_hidden_size": 32,
        "patch_size": 14,
    }
    vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 64, "initializer_range": 0.2}
    text = TEXT | {"head_dim": 8, "rope_parameters": MROPE | {"mrope_interleaved": True}}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **_ids()))


def llava() -> LlavaForConditionalGeneration:
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=56, patch_size=14
    )
    text = LlamaConfig(**TEXT, head_dim=8)
    return LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_id=_ids()["image_token_id"])
    )


def _ids() -> dict[str, int]:
    names = {"image_token_id": "<|image_pad|>", "vision_start_token_id": "<|vision_start|>"}
    found = {name: tokenizer().convert_tokens_to_ids(token) for name, token in names.items()}
    return found | {"video_token_id": 270, "vision_end_token_id": tokenizer().convert_tokens_to_ids("<|vision_end|>")}


def processor_of(model) -> ProcessorMixin:
    if isinstance(model, LlavaForConditionalGeneration):
        images = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
        extra = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
        counting = type("CountingLlavaProcessor", (Counting, LlavaProcessor), {"__init__": LlavaProcessor.__init__})
        return counting(images, tokenizer(), chat_template=TEMPLATE, image_token="<|image_pad|>", **extra)
    if isinstance(model, Gemma3ForConditionalGeneration):
        images = Gemma3ImageProcessorPil(size={"height": 56, "width": 56})
        words = tokenizer()
        words.boi_token, words.image_token, words.eoi_token = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"
        words.boi_token_id, words.image_token_id = words.convert_tokens_to_ids([words.boi_token, words.image_token])
        template = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|>")
        return Gemma3Processor(images, words, chat_template=template, image_seq_length=4)
    images = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, min_pixels=28 * 28, max_pixels=112 * 112)
    counting = type("CountingQwenProcessor", (Counting, QwenProcessor), {"__init__": QwenProcessor.__init__})
    return counting(images, tokenizer(), chat_template=TEMPLATE)


def questions(count: int) -> list[dict]:
    """Questions of unequal length about images of unequal size; the second has the text of the first, on another image."""
    rng = np.random.default_rng(0)
    sizes = [(56, 84), (56, 84), (28, 28), (112, 56)]
    texts = ["Is it awe?", "Is it awe?", "Which of the eight emotions does this image represent?", "Fear, from 0 to 100?"]
    return [
        {
            "prompt": [{"role": "user", "content": texts[i % 4]}],
            "image": Image.fromarray(rng.integers(0, 256, (*sizes[i % 4], 3), dtype=np.uint8)),
            "image_id": f"awe_{i:05}",
        }
        for i in range(count)
    ]


def by_length(completions, **_) -> list[float]:
    """A reward that differs within every group of unequal answers."""
    return [float(len(each[0]["content"].encode()) * 7 % 11) for each in completions]


def make_trainer(folder, share: bool, architecture=qwen2_5, lora: bool = False, kernel: str = "sdpa", **options):
    """Return a trainer of a seeded tiny model; the same weights for the same architecture."""
    torch.manual_seed(0)
    model = architecture()
    model.generation_config.eos_token_id = ENDS
    model.save_pretrained(folder / architecture.__name__)  # full fine-tuning loads its reference from there
    model = type(model).from_pretrained(folder / architecture.__name__, attn_implementation=kernel)
    arguments = {
        "per_device_train_batch_size": 2 * G,
        "num_generations": G,
        "max_completion_length": 12,
        "beta": 0.1,
        "max_steps": 1,
        "lr_scheduler_type": "constant",
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
    }
    targets = r".*language_model.*\.(q_proj|v_proj|up_proj)"
    adapter = LoraConfig(r=4, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM") if lora else None
    made = SharedPrefixGRPOTrainer(
        model,
        by_length,
        GRPOConfig(str(folder / "run"), **arguments | options),
        Dataset.from_list(questions(8)),
        processing_class=processor_of(model),
        peft_config=adapter,
        share_prefix=share,
    )
    made.model.train()
    return made


@pytest.fixture
def trainer(tmp_path):
    return partial(make_trainer, tmp_path)


@pytest.fixture
def said(caplog):
    """Return a function that gives what the project's log has said so far."""
    caplog.set_level(logging.INFO, logger="emotion")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "emotion"]


def groups(count: int) -> list[dict]:
    """A generation batch: `count` questions, each G times."""
    return [question for question in questions(count) for _ in range(G)]


def answers(count: int, seed: int = 0) -> list[list[int]]:
    """Answers of 1 to 12 tokens, the shorter ones ended by end-of-sequence."""
    rng, end = np.random.default_rng(seed), tokenizer().eos_token_id
    lengths = rng.permutation(np.arange(count) % 12 + 1).tolist()
    return [rng.integers(32, 127, n).tolist() if n == 12 else [*rng.integers(32, 127, n - 1).tolist(), end] for n in lengths]


def scored(trainer, monkeypatch, count: int = 2) -> tuple[dict, torch.Tensor, dict[str, torch.Tensor]]:
    """Return the scored batch of given answers, the policy's log-probabilities, and the gradients of the loss."""
    monkeypatch.setattr(trainer, "_generate_single_turn", lambda *_, **__: (answers(count * G), None))
    batch = trainer._generate_and_score_completions(groups(count))
    trainer.current_gradient_accumulation_steps = 1
    policy = {}
    original = trainer._get_per_token_logps_and_entropies

    def recorded(*args, **kwargs):
        policy["logps"], policy["entropies"], _ = result = original(*args, **kwargs)
        return result

    monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", recorded)
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, batch).backward()
    gradients = {name: each.grad for name, each in trainer.model.named_parameters() if each.grad is not None}
    return batch, policy, gradients


def assert_same_numbers(plain, shared) -> None:
    (batch, policy, gradients), (batch_shared, policy_shared, gradients_shared) = plain, shared
    assert batch.keys() == batch_shared.keys()
    for name in {
        "ref_per_token_logps",
        "old_per_token_logps",
        "completion_ids",
        "advantages",
        "pixel_values",
    } & batch.keys():
        assert torch.allclose(batch[name].float(), batch_shared[name].float(), rtol=0, atol=1e-5), name
    for name in policy:
        difference = (policy[name] - policy_shared[name]).abs().max().item()
        print(f"{name}: {difference:.1e}")
        assert difference <= 1e-5, name
    assert gradients.keys() == gradients_shared.keys()
    floor = 1e-5 * max(
        each.norm() for each in gradients.values()
    )  # a bias of CLIP's keys has no effect: its gradient is noise
    relative = {
        name: ((each - gradients_shared[name]).norm() / each.norm().clamp(min=floor)).item()
        for name, each in gradients.items()
    }
    print(f"gradients: {max(relative.values()):.1e} of {max(relative, key=relative.get)}")
    assert max(relative.values()) <= 1e-4, max(relative, key=relative.get)


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


@pytest.mark.parametrize("kernel", ["flash_attention_2", "flex_attention"])
def test_a_kernel_without_a_mask_falls_back_and_says_so_once(trainer, said, monkeypatch, kernel):
    def obstacle_of(model):  # as if that kernel were installed here
        model.config.get_text_config()._attn_implementation = kernel
        return sharing_obstacle(model)

    monkeypatch.setattr("understanding.shared_prefix.sharing_obstacle", obstacle_of)
    plain = trainer(True)
    assert not plain.shares_prefix
    assert [line for line in said() if "share" in line] == [said()[0]]
    assert kernel in said()[0]


def windowed() -> Qwen2_5_VLForConditionalGeneration:
    model = qwen2_5()
    model.config.text_config.layer_types = ["full_attention", "sliding_attention"]
    model.config.text_config.sliding_window = 64
    return model


def test_a_model_with_a_window_falls_back(trainer, said):
    assert not trainer(True, windowed).shares_prefix
    assert "sliding_attention" in said()[0]


def gemma3() -> Gemma3ForConditionalGeneration:
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=56, patch_size=14
    )
    text = Gemma3TextConfig(**TEXT, head_dim=8, layer_types=["full_attention"] * 2, query_pre_attn_scalar=8)
    ids = {"boi_token_index": 259, "eoi_token_index": 260, "image_token_id": _ids()["image_token_id"]}
    model = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, **ids)
    )
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)  # else images are zeros
    return model


def test_a_model_whose_image_tokens_see_one_another_falls_back(trainer, said, monkeypatch):
    plain = scored(trainer(False, gemma3), monkeypatch, 4)
    fallen = trainer(True, gemma3)
    numbers = scored(fallen, monkeypatch, 4)
    assert not fallen.shares_prefix
    assert len(said()) == 1
    assert_same_numbers(plain, numbers)


@pytest.mark.parametrize("launch", ["ddp", pytest.param("zero2", marks=pytest.mark.slow)])
def test_two_processes_take_the_plain_trainers_step(tmp_path, launch):
    one_machine = ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launchers = {
        "ddp": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
        "zero2": ["accelerate.commands.launch", *one_machine, "--use_deepspeed", "--zero_stage", "2"],
    }
    script = Path(__file__).with_name("two_processes_step.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    weights = {}
    for mode in ("plain", "shared"):
        (folder := tmp_path / mode).mkdir()
        command = [sys.executable, "-m", *launchers[launch], str(script), str(folder), mode]
        result = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=500)
        assert result.returncode == 0, result.stderr[-3000:]
        assert (folder / "processes.txt").read_text() == f"2 {'DEEPSPEED' if launch == 'zero2' else 'MULTI_CPU'}"
        weights[mode] = torch.load(folder / "weights.pt", weights_only=True)
    for name, (before, plain) in weights["plain"].items():
        change, difference = (plain - before).norm(), (plain - weights["shared"][name][1]).norm()
        assert change > 0
        assert difference <= 1e-4 * change, name


@pytest.mark.parametrize("fault", ["mask ignored", "wrong positions", "raises"])
def test_a_model_that_gives_other_numbers_falls_back(trainer, said, monkeypatch, fault):
    """The comparison on the first question finds what no list of models could; then all is as in the plain trainer."""
    plain = scored(trainer(False), monkeypatch, 4)
    fallen = trainer(True)

    def faulty(*args):
        packed = pack(*args)
        if fault == "raises":
            raise NotImplementedError("no such mask")
        if fault == "mask ignored":
            packed["attention_mask"] = torch.ones_like(packed["attention_mask"]).tril()
        else:
            packed["position_ids"] = torch.arange(packed["input_ids"].size(1)).expand_as(packed["position_ids"])
        return packed

    monkeypatch.setattr("understanding.shared_prefix.pack", faulty)
    numbers = scored(fallen, monkeypatch, 4)
    assert not fallen.shares_prefix
    assert len(said()) == 1
    assert "cannot share" in said()[0]
    assert_same_numbers(plain, numbers)


def test_the_switch_leaves_trls_trainer(trainer, said):
    off = trainer(False, per_device_train_batch_size=2, gradient_accumulation_steps=2)  # half a group: TRL's business
    Counting.images.clear()
    off.train()
    assert Counting.images == [G, G], "TRL's own: each answer's image, twice"
    assert not said()


def test_a_batch_that_splits_a_group_is_refused(trainer):
    with pytest.raises(ValueError, match="per_device_train_batch_size: 6 answers split a group of 4; the nearest"):
        trainer(True, per_device_train_batch_size=6, gradient_accumulation_steps=2)


def test_rows_that_are_not_whole_groups_are_refused(trainer):
    with pytest.raises(ValueError, match="each question 4 times in a row"):
        trainer(True)._generate_and_score_completions(questions(2) * G)


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
