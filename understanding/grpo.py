"""One step of GRPO: a model, questions about images, rewards; Step I and Step II differ only in their images.

Only what TRL leaves open stands here: the questions as its data set, the rewards, curves, and in checkpoints.py how a killed
training goes on.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PrinterCallback, ProgressCallback
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import GRPOConfig

from config.errors import UserError
from runtime.run_folder import log
from config.settings import Settings
from runtime.hub import resolve_model
from emoset.images import load_image
from emoset.labels import EMOTIONS
from understanding.checkpoints import WholeCheckpoints, newest_checkpoint
from understanding.curves import Curves
from understanding.loading import load_processor
from understanding.model import bounded, check_language_model, conversation, freeze_vision, load_whole, lora_config
from understanding.questions import Question
from understanding.rewards import length_reward, rewards_of
from understanding.shared_prefix import SharedPrefixGRPOTrainer
from understanding.vllm_check import check_vllm_agrees


@dataclass(frozen=True)
class Plan:
    """How the questions of a step are shared out. accumulation: forward passes of a process for each update."""

    processes: int
    accumulation: int
    steps: int


def plan(settings: Settings, questions: int, limit: int | None) -> Plan:
    """Return how `questions` are shared out, in at most `limit` updates; more than a pass over them begins a new one.

    Raises UserError for what cannot be, with the nearest that can.
    """
    grpo, processes = settings.grpo, int(os.environ.get("WORLD_SIZE", "1"))
    at_once = grpo.batch_size * processes
    if grpo.questions_per_step % at_once:
        nearest = max(at_once, round(grpo.questions_per_step / at_once) * at_once)
        raise UserError(
            f"grpo.questions_per_step: {grpo.questions_per_step} cannot be shared out over {processes} processes of"
            f" grpo.batch_size {grpo.batch_size}; the nearest that can is {nearest}"
        )
    if questions < grpo.questions_per_step:
        nearest = questions // at_once * at_once
        hint = f"the most that can be is {nearest}" if nearest else "ask more questions: questions.count"
        raise UserError(f"grpo.questions_per_step: {grpo.questions_per_step}, but there are {questions} questions; {hint}")
    whole = questions // grpo.questions_per_step
    return Plan(processes, grpo.questions_per_step // at_once, whole if limit is None else limit)


def train(
    settings: Settings,
    name: str,
    start: str | Path,
    questions: list[Question],
    asked_on_val: list[Question],
    images: dict[str, Path],
    confusability,
    steps: int,
    folder: Path,
) -> None:
    """Train the model `start`, by name or folder, for `steps` updates; go on from the newest checkpoint in `folder`.

    The last checkpoint, checkpoint-<steps>, must not be there: from it Trainer would make one update more.
    name: of the step, for the log. images: the file of every image id. confusability: (8, 8), for the graded reward.
    """
    arguments = training_arguments(
        settings, len(questions), steps, folder
    )  # before the model: ZeRO-3 shares it out as it loads
    model, processor = load_trainable(settings, start)
    newest = newest_checkpoint(arguments)
    adapter = {"peft_config": lora_config(settings.understanding)}
    trainer = Trainer(
        model=model,
        args=arguments,
        processing_class=processor,
        train_dataset=question_data(questions, images, settings.understanding.max_pixels),
        reward_funcs=list(reward_functions(settings, questions, confusability).values()),
        share_prefix=settings.grpo.share_prefix,
        callbacks=[curves := Curves(settings, folder, asked_on_val, images, processor)],
        **adapter if settings.understanding.lora_rank and not isinstance(model, PeftModel) else {},
    )
    curves.trainer = trainer
    keep_precise(trainer, settings)
    announce(trainer, name, newest)
    if settings.grpo.vllm:
        check_vllm_agrees(trainer)
    trainer.train(resume_from_checkpoint=newest)


def announce(trainer, name: str, newest: str | None) -> None:
    """Say what is trained, in place of what transformers would print. newest: the checkpoint that it goes on from."""
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    trained = sum(getattr(weight, "ds_numel", weight.numel()) for weight in weights)  # ZeRO-3 has shared them out
    resumed = f", going on from {Path(newest).name}" if newest else ""
    state = trainer.accelerator.state
    shared = f" on {state.num_processes} processes ({state.distributed_type.value})" if state.num_processes > 1 else ""
    log.info(f"{name}: {trained:,} weights are trained{shared}, {trainer.args.max_steps:,} updates{resumed}")


def keep_precise(trainer, settings: Settings) -> None:
    """Give the adapter of a base in 4 bits its float32 back: TRL makes it bfloat16, which loses small updates.

    DeepSpeed keeps float32 copies of its own.
    """
    if settings.understanding.four_bit and not trainer.is_deepspeed_enabled:
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()


def spare_frozen(model) -> None:
    """Keep gradients out of what comes before the first trained weight, such as a frozen vision tower.

    To checkpoint gradients, transformers and TRL let all embeddings, of patches too, have them. Only re-entrant
    checkpointing needs that, which TRL chooses for an adapter under ZeRO-3.
    """
    if not is_deepspeed_zero3_enabled():
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        base.enable_input_require_grads = lambda: None


def load_trainable(settings: Settings, start: str | Path):
    """Return the model to be trained, without a new adapter, and its processor."""
    options = settings.understanding
    whole = options if options.lora_rank else options.model_copy(update={"dtype": "float32"})  # which AdamW's updates need
    model = load_whole(whole, start, "understanding.model", trainable=True)
    if not options.train_vision:
        check_language_model(model)
        if not options.lora_rank:
            freeze_vision(model)
    spare_frozen(model)
    return model.train(), load_processor(resolve_model(str(start)))


def training_arguments(settings: Settings, questions: int, steps: int, folder: Path) -> GRPOConfig:
    """Return TRL's settings; its batch sizes count answers."""
    grpo, rewards = settings.grpo, settings.rewards
    shared = plan(settings, questions, steps)
    arguments = GRPOConfig(
        output_dir=str(folder / "checkpoints"),
        per_device_train_batch_size=grpo.batch_size * grpo.group,
        gradient_accumulation_steps=shared.accumulation,
        steps_per_generation=shared.accumulation,  # one sampling for each update, without which no run resumes exactly
        num_generations=grpo.group,
        max_completion_length=grpo.answer_tokens,
        temperature=grpo.temperature,
        beta=grpo.beta,
        scale_rewards="none",  # by a group's deviation, a slight error would count as much as a gross one: no proper score
        reward_weights=list(reward_weights(rewards).values()),
        max_steps=steps,
        use_vllm=grpo.vllm,
        vllm_mode="colocate",
        **common_arguments(settings),
    )
    return on_one_gpu(arguments)


def on_one_gpu(arguments):
    """Return TRL's settings, by which a process takes one GPU, however many it sees; TRL refuses DataParallel."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def common_arguments(settings: Settings) -> dict:
    """Return the settings that every trainer of transformers takes."""
    grpo, dtype = settings.grpo, settings.understanding.dtype
    # Else float32 would be trained in the launch file's precision, and evaluated in its own.
    os.environ["ACCELERATE_MIXED_PRECISION"] = {"bfloat16": "bf16", "float16": "fp16"}.get(dtype, "no")
    return dict(
        learning_rate=grpo.learning_rate,
        lr_scheduler_type=grpo.schedule if grpo.schedule != "constant" else "constant_with_warmup",
        warmup_steps=grpo.warmup_steps,
        max_grad_norm=grpo.max_gradient_norm,
        gradient_checkpointing=grpo.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        dataloader_num_workers=grpo.workers,
        logging_steps=grpo.log_every,
        report_to=grpo.tracker,
        save_steps=grpo.checkpoint_every,
        save_total_limit=grpo.checkpoints_kept,
        seed=settings.seed,
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
    )


def question_data(
    questions: list[Question], images: dict[str, Path], max_pixels: int, answers: list[str] | None = None
) -> Dataset:
    """Return the questions as TRL reads them, a row each: prompt, image, question (its number) and, if given, the answer."""

    @lru_cache(maxsize=64)  # a question's row is read once for every answer
    def load(image_id: str):
        return bounded(load_image(images[image_id]), max_pixels)

    def shown(rows: dict) -> dict:
        return rows | {"image": [load(questions[number].image_id) for number in rows["question"]]}

    rows = [{"prompt": conversation(question.prompt), "question": number} for number, question in enumerate(questions)]
    if answers:
        rows = [
            row | {"completion": [{"role": "assistant", "content": answer}]}
            for row, answer in zip(rows, answers, strict=True)
        ]
    return Dataset.from_list(rows).with_transform(shown)


def reward_weights(rewards) -> dict[str, float]:
    """Return the weights of the rewards that are in use, by name."""
    named = {name: getattr(rewards, name) for name in ("binary", "multiple", "misleading", "format")}
    return named | ({"length": rewards.length} if rewards.length else {})


def reward_functions(settings: Settings, questions: list[Question], confusability) -> dict:
    """Return TRL's reward functions by name; the share of right answers for each emotion is logged beside them."""
    asked = settings.questions

    def all_rewards(completions: list, numbers: list[int]) -> list[dict]:
        return [
            rewards_of(
                questions[number],
                completion[0]["content"],
                asked.reasoning,
                asked.answer_by,
                settings.rewards,
                confusability,
            )
            for completion, number in zip(completions, numbers, strict=True)
        ]

    def function(name: str):
        def reward(completions, question, log_metric, **_):
            rewards = [each[name] for each in all_rewards(completions, question)]
            if name == "multiple":
                for emotion in EMOTIONS:
                    own = [
                        r
                        for r, n in zip(rewards, question, strict=True)
                        if r is not None and questions[n].emotion == emotion
                    ]
                    if own:
                        log_metric(f"accuracy/{emotion}", sum(r == 1 for r in own) / len(own))
            return rewards

        reward.__name__ = name
        return reward

    def length(completion_ids, **_):
        return [length_reward(len(ids), settings.rewards.length_limit) for ids in completion_ids]

    functions = {name: function(name) for name in ("binary", "multiple", "misleading", "format")}
    return functions | ({"length": length} if settings.rewards.length else {})


class Trainer(WholeCheckpoints, SharedPrefixGRPOTrainer):
    """`SharedPrefixGRPOTrainer` whose checkpoints are whole or not there, and whose full weights resume."""
