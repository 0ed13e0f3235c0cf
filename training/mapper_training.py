"""The training of the mapper, from the frozen models to the generator's folder."""

import json
import math
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from diffusers import DDPMScheduler, StableDiffusionPipeline, UniPCMultistepScheduler
from torch.nn import Parameter

from config.errors import UserError
from runtime.files import write_atomically
from runtime.run_folder import log, progress
from config.settings import Settings
from runtime.built_folder import is_built
from runtime.hub import check_repository, fingerprints, upload
from emoset.labels import EMOTIONS
from training.attributes import AttributeTexts
from training.checkpoints import load_checkpoint, save_checkpoint
from training.emotion_space import EmotionSpace
from training.generator_folder import save_generator
from training.mapper import EmotionMapper
from training.mapper_data import MapperItems, Share, batches
from training.pipeline import GENERATOR, EmotionPipeline
from training.processes import prepare
from training.samples import grid
from runtime.seeds import derived_seed
from training.tracking import Metrics
from training.trained import TrainedGenerator, latents_of

# What changes how a training is watched, and not its result.
WATCHING = {"workers", "log_every", "sample_every", "samples", "checkpoint_every", "checkpoints_kept", "tracker"}
WATCHING |= {"push_to_hub"}
RECIPE, FINISHED = "recipe.json", "finished"


def train_mapper(
    settings: Settings,
    folder: Path,
    items: MapperItems,
    stable: StableDiffusionPipeline,
    texts: AttributeTexts,
    classifier: tuple[torch.Tensor, torch.Tensor],
    space: EmotionSpace,
    summary: dict,
    accelerator: Accelerator,
) -> None:
    """Train the mapper, with its checkpoints, curves and samples in `folder`, and write `<run>/generator/`.

    classifier: of emotions, on text features: weight, bias. summary: what the model card tells of the emotion space.
    Raises UserError where an epoch has fewer images than an update takes, or the CLIP does not fit Stable Diffusion.
    """
    options, result = settings.mapper, settings.run / "generator"
    share = Share(options.batch_size, options.gradient_accumulation, accelerator.num_processes, accelerator.process_index)
    steps = _steps(settings, len(items), share)
    _check(settings, result, stable, texts, accelerator)
    hashes = fingerprints(stable.unet, stable.text_encoder)
    recipe = _recipe(settings, accelerator, share, items.recipe, hashes)
    if not _open(folder, recipe, result, accelerator):
        log.info("mapper: trained before, and nothing has changed")
        if options.push_to_hub and accelerator.is_main_process:
            upload(result, options.push_to_hub)
        return
    if options.sample_every and _is_zero3(accelerator):
        log.info("mapper: no samples under ZeRO-3, which shares the U-Net out")

    if accelerator.distributed_type != DistributedType.DEEPSPEED:  # which cannot broadcast such weights
        stable.unet.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
    trained = _new_generator(settings, stable, texts, classifier, space, accelerator.mixed_precision)
    weights = trained.trained_weights()
    optimizer = torch.optim.AdamW(weights.values(), options.learning_rate, weight_decay=options.weight_decay, fused=True)
    model, optimizer = prepare(accelerator, trained, optimizer, share, options.max_gradient_norm)
    average = {name: weight.detach().clone() for name, weight in weights.items()} if options.ema else {}
    first = load_checkpoint(folder / "checkpoints", accelerator, model, optimizer, average)
    if first:
        log.info(f"mapper: goes on after update {first:,} of {steps:,}")
    metrics = Metrics(folder, first, options.tracker, accelerator)
    bar = progress(None, "mapper", steps * share.total, first * share.total) if accelerator.is_main_process else None

    scaling, rows = stable.vae.config.scaling_factor, len(trained.schedule.betas)
    loader = batches(items, share, first, steps, stable.tokenizer, options.tokens, rows, scaling, options.workers)
    model.train()
    terms, logged = 0.0, first  # the sum of the losses since the update after which they were logged
    for step in range(first, steps):
        torch.manual_seed(derived_seed(settings.seed, "dropout", step, share.process))
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * rate_at(step, steps, options.warmup_steps, options.schedule)
        for _ in range(options.gradient_accumulation):
            batch = next(loader).to(accelerator.device)
            if batch.latents is None:
                batch = replace(batch, latents=latents_of(batch, stable.vae))
            with accelerator.accumulate(model):
                losses = model(batch)
                accelerator.backward(losses["loss"])
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(weights.values(), options.max_gradient_norm)
                optimizer.step()
                optimizer.zero_grad()
            terms = terms + torch.stack([value.detach().float() for value in losses.values()])
        for name, value in average.items():
            value.lerp_(weights[name].detach(), 1 - options.ema)
        done = step + 1
        if bar:
            bar.update(share.total)
        if done % options.log_every == 0 or done == steps:
            means = accelerator.reduce(terms / (done - logged) / options.gradient_accumulation, "mean").tolist()
            numbers = dict(zip(losses, means, strict=True)) | {"updates": done - logged}
            metrics.log(done, numbers | {"learning_rate": group["lr"], "epoch": done * share.total / len(items)})
            terms, logged = 0.0, done
        if options.sample_every and (done % options.sample_every == 0 or done == steps) and not _is_zero3(accelerator):
            with whole(weights, average, accelerator):
                if accelerator.is_main_process:
                    _save_samples(folder / "samples" / f"{done:07d}.png", settings, stable, trained, space)
            accelerator.wait_for_everyone()
        if done % options.checkpoint_every == 0 or done == steps:
            save_checkpoint(folder / "checkpoints", done, options.checkpoints_kept, accelerator, model, optimizer, average)
    with whole(weights, average, accelerator):
        if accelerator.is_main_process:
            facts = {
                "images": len(items.images),
                "rows": len(items),
                "steps": steps,
                "batch": share.total,
                "losses": {name: metrics.last()[name] for name in ("loss", "diffusion", "attribute", "emotion")},
                "losses_updates": metrics.last()["updates"],
                "emotion_space": {name: value for name, value in summary.items() if not isinstance(value, dict)},
            }
            save_generator(result, settings, trained.mapper, space, trained.unet, hashes, facts)
            (folder / FINISHED).touch()
            if options.push_to_hub:
                upload(result, options.push_to_hub)
    accelerator.wait_for_everyone()
    for each in accelerator.trackers:  # end_training would end the process group too, which the model still holds
        each.finish()
    log.info(f"mapper: trained for {steps:,} updates; the generator is in {result}")


def rate_at(step: int, steps: int, warmup: int, schedule: str) -> float:
    """Return the share of the peak learning rate at update `step` (from 0) of `steps`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(1, steps - warmup)) if schedule == "cosine" else 1.0


@contextmanager
def whole(weights: dict[str, Parameter], average: dict[str, torch.Tensor], accelerator: Accelerator) -> Iterator[None]:
    """Let the trained weights be whole on every process, and be their moving average where there is one."""
    gathered = nullcontext()
    if _is_zero3(accelerator):
        import deepspeed

        gathered = deepspeed.zero.GatheredParameters(list(weights.values()))
    with gathered, torch.no_grad():
        trained = {name: weights[name].detach().clone() for name in average}
        for name, value in average.items():
            weights[name].copy_(value)
        try:
            yield
        finally:
            for name, value in trained.items():
                weights[name].copy_(value)


def _steps(settings: Settings, rows: int, share: Share) -> int:
    per_epoch = rows // share.total
    if not per_epoch:
        raise UserError(
            f"mapper.batch_size: an update takes {share.total} images ({share.batch_size} x {share.accumulation} accumulated"
            f" x {share.processes} processes), the balanced set has {rows}; lower one of these"
        )
    steps = min(settings.mapper.epochs * per_epoch, settings.mapper.max_train_steps or sys.maxsize)
    log.info(f"mapper: {steps:,} updates of {share.total} images, {per_epoch:,} to an epoch")
    return steps


def _check(settings: Settings, result: Path, stable, texts: AttributeTexts, accelerator: Accelerator) -> None:
    """Raise UserError for what would end hours of training, or would end it where an older one has been moved aside."""
    options, clip, own = settings.mapper, texts.projection.shape[1], stable.text_encoder.config.hidden_size
    if clip != own:
        raise UserError(f"models.clip: its text tower is {clip} wide, Stable Diffusion's {own}")
    if options.ema and accelerator.distributed_type == DistributedType.DEEPSPEED:
        raise UserError("mapper.ema: not under DeepSpeed, which keeps weights in half precision or shared out; use null")
    is_built(result, {"what": "generator"})  # raises for what is not ours
    if options.push_to_hub and accelerator.is_main_process:
        check_repository(options.push_to_hub, "mapper.push_to_hub")


def _new_generator(settings: Settings, stable, texts: AttributeTexts, classifier, space, precision: str) -> TrainedGenerator:
    """Return the one trained module, on frozen models in the precision of the forward pass."""
    options, encoder = settings.mapper, stable.text_encoder
    torch.manual_seed(settings.seed)
    sizes = (options.tokens, options.hidden_layers, options.hidden_size, options.dropout)
    mapper = EmotionMapper(space.config.dimension, encoder.config.hidden_size, *sizes)
    mapper.start_from(space, encoder.get_input_embeddings().weight.detach())
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    stable.unet.to(dtype=dtype)
    encoder.to(dtype=dtype)
    schedule = DDPMScheduler.from_config(stable.scheduler.config)
    return TrainedGenerator(mapper, encoder, stable.unet, schedule, texts, classifier, options)


def _recipe(settings: Settings, accelerator: Accelerator, share: Share, data: str, base: list[str]) -> str:
    """Return what the weights depend on, as text; the number of processes only where DeepSpeed shares out its state."""
    kept = settings.mapper.model_dump(exclude=WATCHING | {"batch_size", "gradient_accumulation"})
    kept |= dict(batch=share.total, precision=accelerator.mixed_precision, seed=settings.seed, data=data, base=base)
    kept["resolution"] = settings.models.resolution  # the models themselves are in `data` and `base`, by their weights
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        kept |= dict(processes=share.processes, zero=accelerator.state.deepspeed_plugin.zero_stage)
    return json.dumps(kept, indent=1)


def _open(folder: Path, recipe: str, result: Path, accelerator: Accelerator) -> bool:
    """Make `folder` ready for a training by `recipe` and tell whether it is still to be done.

    What another recipe left there is moved aside, to `<folder>.old`, in place of what was there before it.
    """
    is_same = (folder / RECIPE).exists() and (folder / RECIPE).read_text() == recipe
    finished = is_same and (folder / FINISHED).exists() and (result / GENERATOR).exists()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process and not is_same:
        if folder.exists():
            old = folder.with_name(f"{folder.name}.old")
            older = ", and the one before that is removed" if old.exists() else ""
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
            log.info(f"mapper: the settings or data have changed; the training before them is in {old.name}/{older}")
        folder.mkdir(parents=True)
        write_atomically(folder / RECIPE, lambda path: path.write_text(recipe))
    accelerator.wait_for_everyone()
    return not finished


def _is_zero3(accelerator: Accelerator) -> bool:
    plugin = accelerator.state.deepspeed_plugin
    return plugin is not None and plugin.zero_stage == 3


def _save_samples(path: Path, settings: Settings, stable, trained: TrainedGenerator, space: EmotionSpace) -> None:
    """Save a grid of images, a row for each emotion, from the same noise every time."""
    # A copy of the space: the pipeline moves it to the device, and the items are made on the CPU.
    parts = stable.components | dict(mapper=trained.mapper, emotion_space=EmotionSpace.of(space.mean, space.factor))
    pipe = EmotionPipeline(**parts)
    pipe.scheduler = UniPCMultistepScheduler.from_config(stable.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    options, rows = settings.generate, {}
    trained.eval()
    for number, emotion in enumerate(EMOTIONS):
        seeds = range(number * settings.mapper.samples, (number + 1) * settings.mapper.samples)
        latents = pipe(
            emotion=[emotion] * settings.mapper.samples,
            emotion_spread=options.spread,
            output_type="latent",
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            num_inference_steps=min(options.steps, 25),
            guidance_scale=options.guidance_scale,
            height=settings.models.resolution,
            width=settings.models.resolution,
        ).images
        with torch.no_grad():  # the VAE stays in float32, whatever the others are in
            images = stable.vae.decode(latents.float() / stable.vae.config.scaling_factor).sample
        rows[emotion] = pipe.image_processor.postprocess(images)
    trained.train()
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, grid(rows).save)
