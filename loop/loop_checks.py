"""What the loop checks before it makes an image: all that would end it later on, told at once."""

import os
from functools import partial
from pathlib import Path

import diffusers
import torch
import transformers
from accelerate.utils import parse_flag_from_env

from config.errors import UserError, tell_together
from config.loop_settings import Loop
from config.settings import Settings
from config.understanding_settings import Rewards
from evaluation.first_checks import check_clip, checks_of_networks
from loop.scores import check_network, check_reward, gate_of
from runtime.hub import hide_loading
from runtime.processes import free_memory
from runtime.run_folder import log
from training.early_checks import one_thread
from training.emotion_space import EmotionSpace
from training.generator_parts import GENERATOR, read_about
from training.inference import check_emotions
from training.mapper import EmotionMapper
from training.sampling import load_pipeline

SHAPE = ("tokens", "hidden_layers", "hidden_size", "dropout")  # settings of the mapper that its own config holds too


def as_trained(settings: Settings, generator: Path) -> Settings:
    """Return the settings with the mapper's sizes and the LoRA's rank of a generator's folder, whatever they say of these.

    No gradients are accumulated: a batch of the loop is a whole update.
    Raises UserError where the generator belongs to another emotion space or knows other emotions than the settings say.
    """
    about, own = read_about(generator / GENERATOR), EmotionMapper.load_config(generator / "mapper")
    emotions = settings.data.taxonomy.emotions
    check_emotions(tuple(about.get("emotions", emotions)), emotions, generator)
    given = {name: own[name] for name in SHAPE} | {"lora_rank": about.get("lora_rank", settings.mapper.lora_rank)}
    changed = {name: value for name, value in given.items() if value != getattr(settings.mapper, name)}
    if changed:
        told = ", ".join(f"mapper.{name}={value}" for name, value in changed.items())
        log.info(f"{told}: with these the generator was trained, so the loop trains it with these too")
    return settings.model_copy(update={"mapper": settings.mapper.model_copy(update=changed | {"gradient_accumulation": 1})})


def check_generator(folder: Path) -> None:
    """Raise UserError where no generator is there, or one that is not whole: it is loaded."""
    if not (folder / GENERATOR).is_file():
        raise UserError(f"{folder}: no generator there; training/main.py makes it")
    hide_loading(transformers, diffusers)
    with one_thread():  # reading EmoSet forks later on
        load_pipeline(folder)
    free_memory()


def check_exact(rewards: Rewards) -> None:
    """Raise UserError for rewards that exact answers, by which loop/teach.py trains whatever grpo.answers, do not take."""
    needs_samples = {"graded": "false", "length": "0"}
    wrong = [
        f"rewards.{name}: works with sampled answers only, and loop/teach.py scores all answers at once; set it to {off}"
        for name, off in needs_samples.items()
        if getattr(rewards, name)
    ]
    if wrong:
        raise UserError("\n".join(wrong))


def check_loop(settings: Settings, generator: Path, rows: int, dimension: int) -> None:
    """Raise one UserError for all that would end loop/main.py after it has made images.

    settings: as_trained. rows: of the balanced set. dimension: of the emotion vectors that the settings ask for.
    """
    measured = settings.evaluate.model_copy(update={"judge": settings.loop.judge})
    measured = settings.model_copy(update={"evaluate": measured})
    hide_loading(diffusers)
    with one_thread():  # reading EmoSet forks later on
        tell_together(
            partial(_check_training, settings, generator, dimension),
            partial(_check_items, settings.loop, rows),
            partial(check_reward, settings),
            partial(check_network, settings, gate_of(settings.loop.reward)),
            partial(check_clip, settings.models.clip),
            *checks_of_networks(measured, "loop.judge"),
        )
    free_memory()


def check_space(generator: Path, space: EmotionSpace) -> None:
    """Raise UserError where a generator's folder holds another emotion space than the run's, which its items come from."""
    own, run = EmotionSpace.from_pretrained(generator / "emotion_space").state_dict(), space.state_dict()
    if any(own[name].shape != run[name].shape or not torch.equal(own[name], run[name].cpu()) for name in own):
        raise UserError(
            f"{generator}: was trained with another emotion space than the run has now; run training/main.py again"
        )


def _check_training(settings: Settings, generator: Path, dimension: int) -> None:
    about = read_about(generator / GENERATOR)
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        raise UserError("loop: cannot train under DeepSpeed; launch it with config/accelerate/multi_gpu.yaml")
    if not settings.caches.use:
        raise UserError("caches.use: the loop trains on cached latents beside generated ones; leave caches.use=false out")
    if settings.loop.trains == "mapper_and_lora" and not settings.mapper.lora_rank:
        raise UserError(f"loop.trains: {generator} has no LoRA; set loop.trains=mapper, or train it with mapper.lora_rank")
    if (pixels := about.get("resolution") or settings.models.resolution) != settings.models.resolution:
        raise UserError(f"models.resolution: {generator} was trained at {pixels} pixels; set models.resolution={pixels}")
    if settings.loop.content_weight and not about.get("contents"):
        raise UserError(
            f"loop.content_weight: {generator} knows no contents that it could reward; set loop.content_weight=0"
        )
    if (own := EmotionMapper.load_config(generator / "mapper")["dimension"]) != dimension:
        raise UserError(
            f"emotion_space: {generator} takes emotion vectors of {own}, and the settings ask for {dimension}; give those "
            "that it was trained with"
        )


def _check_items(loop: Loop, rows: int) -> None:
    """Raise UserError where a round, or the control's balanced set, has fewer images than an update takes."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    total, made = loop.batch_size * processes, 2 * loop.conditions * loop.group
    update = f"loop.batch_size: an update takes {total} images ({loop.batch_size} x {processes} processes)"
    if made < total:
        raise UserError(
            f"{update}, and a round has {made} (2 x {loop.conditions} conditions x {loop.group}, half of them real); lower "
            "it, or raise loop.conditions or loop.group"
        )
    if loop.control and rows < total:
        raise UserError(f"{update}, and the balanced set has {rows}; lower it")
