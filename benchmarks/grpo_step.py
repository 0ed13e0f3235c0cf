"""How fast a whole GRPO step is (sampling, scoring, update) when a group shares its image and prompt, against TRL's trainer.

    python benchmarks/grpo_step.py

Both train the same LoRA on the same Qwen2.5-VL with random weights, on the same questions, with KL to the reference: groups
of 8, prompts of 350 or 100 tokens, 64 of them of the image, and answers of a fixed length. The rounds take the two in
turn. The tokens that run bound what sharing can give: G·(P + R) to P + G·R. Answers are sampled token by token in both.

Ours alone also keeps gradients out of the frozen vision tower (`spare_frozen`), as understanding.py does. Without gradient
checkpointing, as here, they are in neither's.
"""

import ctypes
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig
from PIL import Image
from tokenizers import Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from trl import GRPOConfig

from runtime.script import take_no_arguments
from understanding.shared_prefix import SharedPrefixGRPOTrainer
from understanding.trainers import spare_frozen

QUESTIONS, GROUP = 2, 8
CASES = ((350, 8), (350, 32), (350, 128), (100, 8), (100, 32), (100, 128))  # tokens of a prompt, and of an answer
ROUNDS = 5
LORA = LoraConfig(r=8, target_modules=r".*language_model.*_proj", task_type="CAUSAL_LM")
PIXELS = 224  # patches of 14, merged by 2 x 2: 64 image tokens
TEXT = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "vocab_size": 272}
TEXT |= {"num_attention_heads": 8, "num_key_value_heads": 4}
TEXT |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}
VISION = {"depth": 4, "hidden_size": 64, "intermediate_size": 192, "num_heads": 4, "out_hidden_size": 128}
VISION |= {"fullatt_block_indexes": [3]}
SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Processor(ProcessorMixin):
    """Qwen2.5-VL's, without its video part, which needs torchvision."""

    return_mm_token_type_ids = True

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
        self.image_token, self.image_token_id = "<|image_pad|>", tokenizer.convert_tokens_to_ids("<|image_pad|>")
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def replace_image_token(self, image_inputs: dict, image_idx: int, **_) -> str:
        return self.image_token * (image_inputs["image_grid_thw"][image_idx].prod() // self.image_processor.merge_size**2)


def main() -> None:
    rows = {}
    for prompt, answer in CASES:
        steps = {name: Step(share, prompt, answer) for name, share in (("plain", False), ("shared", True))}
        seconds, peaks = {name: [] for name in steps}, {name: [] for name in steps}
        for step in steps.values():
            step()  # to warm up, and to compare both ways of scoring
        for _ in range(ROUNDS):
            for name, step in steps.items():
                took, peak = with_peak(step)
                seconds[name].append(took)
                peaks[name].append(peak)
        assert steps["shared"].trainer.shares_prefix, "the model was found unable to share"
        for name, each in seconds.items():
            ratio = np.median(np.sum(seconds["plain"], 1)) / np.median(np.sum(each, 1))
            row = [*np.median(each, 0), np.median(np.sum(each, 1)), ratio, np.median(peaks[name])]
            rows[f"prompts of {prompt}, answers of {answer}, {name}"] = row
        bound = GROUP * (prompt + answer) / (prompt + GROUP * answer)
        rows[f"prompts of {prompt}, answers of {answer}, bound"] = [np.nan] * 4 + [bound, np.nan]
    table = pd.DataFrame(rows, ["sampling s", "scoring s", "update s", "step s", "speed-up", "peak MB"]).T
    device = "cuda" if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    print(f"\n{device}, median of {ROUNDS} steps of {QUESTIONS} questions x {GROUP} answers")
    print(table.to_markdown(floatfmt=".2f"))


class Step:
    """A trainer, and its step.

    model: makes one for a tokenizer. adapter: its LoRA. options: of GRPOConfig, over those here.
    """

    def __init__(
        self,
        share: bool,
        prompt: int,
        answer: int,
        questions: int = QUESTIONS,
        pixels: int = PIXELS,
        model: Callable | None = None,
        adapter: LoraConfig = LORA,
        compile_decoding: bool = False,
        **options,
    ):
        torch.manual_seed(0)
        processor = make_processor(pixels)
        options = {
            "per_device_train_batch_size": questions * GROUP,
            "num_generations": GROUP,
            "max_completion_length": answer,
            "generation_kwargs": {"min_new_tokens": answer},
            "beta": 0.01,
            "gradient_checkpointing": False,
            "bf16": False,
            "report_to": "none",
        } | options
        questions = make_questions(processor, prompt, questions, pixels)
        model = (model or make_model)(processor.tokenizer)
        if share:
            spare_frozen(model)
        self.rows = [question for question in questions for _ in range(GROUP)]
        self.trainer = SharedPrefixGRPOTrainer(
            model,
            lambda completions, **_: [float(len(each[0]["content"])) for each in completions],
            GRPOConfig(tempfile.mkdtemp(), **options),
            Dataset.from_list(questions),
            processing_class=processor,
            peft_config=adapter,
            share_prefix=share,
            compile_decoding=compile_decoding,
        )
        if self.trainer.args.gradient_checkpointing:  # as train() does
            self.trainer.model.gradient_checkpointing_enable(self.trainer.args.gradient_checkpointing_kwargs)
        self.trainer.model.train()
        self.trainer.current_gradient_accumulation_steps = 1
        trained = [weight for weight in self.trainer.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, 1e-5)
        self.seconds: dict[str, float] = {}  # of sampling; and, where a group shares it, of the prompt in that
        for name in ("_generate_single_turn", "_continued"):
            setattr(self.trainer, name, self._timed(name, getattr(self.trainer, name)))

    def _timed(self, name: str, method: Callable) -> Callable:
        def timed(*args, **kwargs):
            start = now()
            result = method(*args, **kwargs)
            self.seconds[name] = now() - start
            return result

        return timed

    def __call__(self) -> tuple[float, float, float]:
        """Return the seconds of sampling, of scoring (with the processor and the rewards) and of the update."""
        start = now()
        batch = self.trainer._prepare_inputs(self.rows)
        middle = now()
        self.trainer.compute_loss(self.trainer.model, batch).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        sampling = self.seconds["_generate_single_turn"]
        return sampling, middle - start - sampling, now() - middle


def make_processor(pixels: int) -> Processor:
    """Return a processor whose tokens are bytes, for images of a side of `pixels`."""
    letters = {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(letters, []))
    made.pre_tokenizer, made.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = {"pad_token": "<|pad|>", "eos_token": "<|im_end|>", "additional_special_tokens": SPECIAL}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, padding_side="left", **special)
    images = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, min_pixels=28**2, max_pixels=pixels**2)
    return Processor(images, tokenizer, chat_template=TEMPLATE)


def make_model(
    tokenizer: PreTrainedTokenizerFast, text: dict = TEXT, vision: dict = VISION, **options
) -> Qwen2_5_VLForConditionalGeneration:
    """Return a Qwen2.5-VL of random weights, by default about a million, its vision tower frozen by the LoRA's targets."""
    names = {"image_token_id": "<|image_pad|>", "vision_start_token_id": "<|vision_start|>"}
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids, **options)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model


def make_questions(processor: Processor, prompt: int, count: int, pixels: int) -> list[dict]:
    """Return questions of `prompt` tokens each, about random images of a side of `pixels`."""
    rng = np.random.default_rng(0)

    def question(letters: int) -> dict:
        image = Image.fromarray(rng.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8))
        content = [{"type": "image", "image": image}, {"type": "text", "text": "a" * letters}]
        return {"prompt": [{"role": "user", "content": content}]}

    def length(row: dict) -> int:
        arguments = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
        return len(processor.apply_chat_template([row["prompt"]], **arguments)["input_ids"][0])

    rows = [question(prompt - length(question(0))) for _ in range(count)]
    assert {length(row) for row in rows} == {prompt}
    for row in rows:  # the image apart, as in a dataset
        row["image"] = row["prompt"][0]["content"].pop(0)["image"]
        row["prompt"][0]["content"] = row["prompt"][0]["content"][0]["text"]
    return rows


def with_peak(step: Step) -> tuple[tuple[float, float, float], float]:
    """Return a step's seconds and the most memory it took, in MB: all of the GPU's, or what this process had not before."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return step(), torch.cuda.max_memory_allocated() / 1e6
    ctypes.CDLL(None).malloc_trim(0)  # gives back what earlier steps have freed
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    return step(), resident("VmHWM") - before


def resident(name: str) -> float:
    """Return a line of /proc/self/status, in MB."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024 / 1e6


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    take_no_arguments(__doc__)
    main()
