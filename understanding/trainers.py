"""What the trainers of the warm-up and of GRPO share: the process, the model that is trained, its data, their arguments."""

import os
import warnings
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PrinterCallback, ProcessorMixin, ProgressCallback
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from config.data_settings import Machine
from config.errors import UserError
from config.settings import Settings
from config.understanding_settings import Tuning, Understanding
from runtime.hub import resolve_model
from runtime.machine import processors
from runtime.processes import start_process
from runtime.run_folder import log
from understanding.chat import read_chat
from understanding.model import (
    check_language_model,
    check_targets,
    check_whole,
    conversation,
    freeze_vision,
    load_whole,
    lora_config,
)
from understanding.processor import load_processor
from understanding.question import Question
from understanding.showing import substitute


def start_training_process() -> PartialState:
    """Return the state of this process among those launched, ready to train and to save what it has trained."""
    warnings.filterwarnings("ignore", "Could not find a config file", module="peft")  # of a base in the project's folder
    # Without it ZeRO-3 saves no weights, only its shards; a launch without a file of ours does not ask for it.
    os.environ["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"] = "true"
    return start_process()


def load_trainable(understanding: Understanding, start: str | Path) -> tuple[PreTrainedModel | PeftModel, ProcessorMixin]:
    """Return the model that is trained, by name or folder, without a new adapter, and its processor.

    Raises UserError for a model that cannot be trained as the config says.
    """
    check_whole(understanding, start)
    # AdamW's updates of whole weights need float32.
    as_trained = understanding if understanding.lora_rank else understanding.model_copy(update={"dtype": "float32"})
    model = load_whole(as_trained, start, "understanding.model", trainable=True)
    if not understanding.train_vision:
        check_language_model(model)
        if not understanding.lora_rank:
            freeze_vision(model)
    if new_adapter(understanding, model):
        check_targets(model, understanding)
    spare_frozen(model)
    processor = load_processor(resolve_model(str(start)))
    if getattr(model.config, "image_token_id", None) is None:
        raise UserError(
            f"understanding.model: a {type(model).__name__} has no image_token_id, by which TRL knows its images; name a"
            " model of another family"
        )
    model.generation_config.eos_token_id = read_chat(processor).ends(model)  # by which TRL ends answers
    return model.train(), processor


def new_adapter(understanding: Understanding, model: PreTrainedModel | PeftModel) -> dict:
    """Return the trainer's argument for a new adapter; nothing where the model has one, or is trained whole."""
    is_needed = understanding.lora_rank and not isinstance(model, PeftModel)
    return {"peft_config": lora_config(understanding)} if is_needed else {}


def spare_frozen(model: PreTrainedModel | PeftModel) -> None:
    """Keep gradients out of what comes before the first trained weight, such as a frozen vision tower.

    To checkpoint gradients, transformers and TRL let all embeddings, of patches too, have them. Only re-entrant
    checkpointing needs that, which TRL chooses for an adapter under ZeRO-3.
    """
    if not is_deepspeed_zero3_enabled():
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        base.enable_input_require_grads = lambda: None


def keep_precise(trainer, understanding: Understanding) -> None:
    """Give the adapter of a base in 4 bits its float32 back: TRL makes it bfloat16, which loses small updates.

    DeepSpeed keeps float32 copies of its own.
    """
    if understanding.four_bit and not trainer.is_deepspeed_enabled:
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()


def common_arguments(tuning: Tuning, machine: Machine, dtype: str, seed: int) -> dict:
    """Return the arguments that every trainer of transformers takes. dtype: that of understanding.dtype."""
    # Else float32 would be trained in the launch file's precision, and evaluated in its own.
    os.environ["ACCELERATE_MIXED_PRECISION"] = {"bfloat16": "bf16", "float16": "fp16"}.get(dtype, "no")
    return dict(
        warmup_steps=tuning.warmup_steps,
        max_grad_norm=tuning.max_gradient_norm,
        gradient_checkpointing=tuning.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        dataloader_num_workers=min(machine.loaders, processors()),
        logging_steps=tuning.log_every,
        report_to=machine.tracker,
        save_steps=tuning.checkpoint_every,
        save_total_limit=tuning.checkpoints_kept,
        seed=seed,
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
    )


def step_arguments(settings: Settings, name: str, steps: int, folder: Path) -> dict:
    """Return the arguments of a trainer of step_one or step_two, whatever its answers: `steps` updates in `folder`."""
    grpo = settings.grpo
    return dict(
        output_dir=str(folder / "checkpoints"),
        max_steps=steps,
        learning_rate=grpo.rate_of(name),
        lr_scheduler_type=grpo.schedule if grpo.schedule != "constant" else "constant_with_warmup",
        **common_arguments(settings.tuning, settings.machine, settings.understanding.dtype, settings.seed),
    )


def on_one_gpu(arguments):
    """Return a trainer's arguments, by which a process takes one GPU, however many it sees; TRL refuses DataParallel."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def log_start(trainer, name: str, newest: str | None) -> None:
    """Say what is trained, in place of what transformers would print. newest: the checkpoint that it resumes from."""
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    count = sum(getattr(weight, "ds_numel", weight.numel()) for weight in weights)  # ZeRO-3 has shared them out
    resumed = f", resumed from {Path(newest).name}" if newest else ""
    state = trainer.accelerator.state
    shared = f" on {state.num_processes} processes ({state.distributed_type.value})" if state.num_processes > 1 else ""
    log.info(f"{name}: {count:,} weights are trained{shared}, {trainer.args.max_steps:,} updates{resumed}")


def question_data(
    questions: list[Question],
    images: dict[str, Path],
    max_pixels: int,
    answers: list[str] | None = None,
    processor: ProcessorMixin | None = None,
) -> Dataset:
    """Return the questions as TRL reads them, a row each: prompt, image, question (its number) and, if given, the answer.

    Where an image cannot be shown, the row is another question of the same kind (showing.substitute).
    """
    rows = [{"question": number} for number in range(len(questions))]
    if answers:
        rows = [
            row | {"completion": [{"role": "assistant", "content": answer}]}
            for row, answer in zip(rows, answers, strict=True)
        ]
    table, shown = Dataset.from_list(rows), substitute(questions, images, max_pixels, processor)

    def with_images(batch: dict) -> dict:
        places, pictures = zip(*map(shown, batch["question"]), strict=True)
        if list(places) != batch["question"]:
            batch = {name: table[list(places)][name] for name in batch}
        # Made here, for Arrow gives each part the keys of all: an image a text of None, which a template may look for.
        return batch | {"prompt": [conversation(questions[place].prompt) for place in places], "image": list(pictures)}

    return table.with_transform(with_images)
