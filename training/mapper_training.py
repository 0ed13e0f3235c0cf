"""The training of the mapper, from the frozen models to the generator's folder."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch.nn import Parameter
from torch.utils.data import Dataset

from config.generation_settings import Mapper
from config.section import relative_to_root
from config.settings import Settings
from runtime.built_folder import is_built
from runtime.hub import fingerprints, upload
from runtime.recipe import RECIPE, Recipe, digest, settings_of
from runtime.run_folder import log, progress
from runtime.seeds import derived_seed
from runtime.stage import open_stage
from runtime.stopping import finishing_updates, stop, stop_is_asked
from training.accelerator import is_deepspeed, is_zero3, prepare_module
from training.attributes import AttributeTexts
from training.compiled_unet import check_gradients
from training.early_checks import updates_of
from training.emotion_space import EmotionSpace
from training.generator_folder import is_whole, save_generator
from training.mapper import EmotionMapper
from training.mapper_checkpoints import load_checkpoint, save_checkpoint
from training.mapper_data import Share, batches
from training.sample_sheet import save_samples
from training.training_curves import TrainingCurves
from training.training_module import TrainingModule, latents_of

# Settings that change how a training is watched, and not its result.
WATCHING = {"log_every", "sample_every", "samples", "checkpoint_every", "checkpoints_kept", "push_to_hub"}
IN_BATCH = {"batch_size", "gradient_accumulation"}  # which count by their product alone
KERNELS = {"compile"}  # which change the result by rounding alone


@dataclass(frozen=True)
class MapperInputs:
    """What the mapper is trained on and with.

    items: the balanced set. stable: the frozen models, on the accelerator's device, the text encoder and the U-Net among
    them. texts, classifier (weight, bias): of the attribute and the emotion loss, or None where the data have no attributes.
    summary: facts of the emotion space for the model card. made_from: inputs of the recipe, by name. contents: images by
    emotion and attribute, which generated images draw theirs from; empty where no training prompt names any. seen: digests
    of networks that training learns from beside the emotion encoder and CLIP, by what they are.
    """

    items: Dataset  # MapperItems, or others with their order, timestep and images
    stable: StableDiffusionPipeline
    texts: AttributeTexts | None
    classifier: tuple[torch.Tensor, torch.Tensor] | None
    space: EmotionSpace
    summary: dict
    accelerator: Accelerator
    made_from: dict[str, Any]
    contents: dict[str, dict[str, int]]
    seen: Mapping[str, str] = field(default_factory=dict)


def new_module(options: Mapper, seed: int, inputs: MapperInputs, kind: type = TrainingModule) -> TrainingModule:
    """Return the one trained module, on frozen models in the precision of the forward pass.

    kind: TrainingModule, or what is made as that is.
    """
    stable, space, encoder = inputs.stable, inputs.space, inputs.stable.text_encoder
    if not is_deepspeed(inputs.accelerator):  # which cannot broadcast such weights
        stable.unet.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
    torch.manual_seed(seed)
    sizes = (options.tokens, options.hidden_layers, options.hidden_size, options.dropout)
    mapper = EmotionMapper(space.config.dimension, encoder.config.hidden_size, *sizes)
    mapper.start_from(space, encoder.get_input_embeddings().weight.detach())
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(inputs.accelerator.mixed_precision, torch.float32)
    stable.unet.to(dtype=dtype)
    encoder.to(dtype=dtype)
    schedule = DDPMScheduler.from_config(stable.scheduler.config)
    return kind(mapper, encoder, stable.unet, schedule, inputs.texts, inputs.classifier, options)


def train_mapper(
    settings: Settings,
    folder: Path,
    inputs: MapperInputs,
    result: Path | None = None,
    new_module: Callable[[Mapper, int, MapperInputs], TrainingModule] = new_module,
) -> None:
    """Train the mapper, with its checkpoints, curves and samples in `folder`, and write `<run>/generator/`, or `result`.

    new_module: makes what is trained, of settings.mapper, the seed and the inputs.
    Raises UserError where an epoch has fewer images than an update takes.
    """
    options, result, size = settings.mapper, result or settings.run / "generator", settings.models.resolution
    items, stable, accelerator = inputs.items, inputs.stable, inputs.accelerator
    share = Share(options.batch_size, options.gradient_accumulation, accelerator.num_processes, accelerator.process_index)
    steps = updates_of(options, len(items), share)
    log.info(f"mapper: {steps:,} updates of {share.total} images, {len(items) // share.total:,} to an epoch")
    hashes = fingerprints(stable.unet, stable.text_encoder)
    recipe = _recipe(options, settings.seed, size, share, hashes, inputs)
    if open_stage(folder, recipe) and is_built(result, replace(recipe, what="generator")) and is_whole(result):
        log.info("mapper: trained before, and nothing has changed")
        if options.push_to_hub and accelerator.is_main_process:
            upload(result, options.push_to_hub)
        return
    _say_what_is_left_out(options, inputs)

    module = new_module(options, settings.seed, inputs)
    weights = module.trained_weights()
    optimizer = torch.optim.AdamW(weights.values(), options.learning_rate, weight_decay=options.weight_decay, fused=True)
    prepared, optimizer = prepare_module(accelerator, module, optimizer, share, options.max_gradient_norm or 0.0)
    average = {name: weight.detach().clone() for name, weight in weights.items()} if options.ema else {}
    resumed = load_checkpoint(folder / "checkpoints", accelerator, prepared, optimizer, average)
    # terms: the sum of the losses since the update after which they were logged
    first, logged, terms = (resumed[name] for name in ("step", "logged", "terms")) if resumed else (0, 0, 0.0)
    terms = torch.tensor(terms, device=accelerator.device)
    if first:
        log.info(f"mapper: resumes after update {first:,} of {steps:,}")
    curves = TrainingCurves(folder, first, settings.machine.tracker, accelerator)
    bar = progress(None, "mapper", steps * share.total, first * share.total) if accelerator.is_main_process else None

    scaling, rows = stable.vae.config.scaling_factor, len(module.schedule.betas)
    prepared.train()
    with finishing_updates():
        loading = stable.tokenizer, options.tokens, rows, scaling, settings.machine.loaders
        loader = batches(items, share, first, steps, *loading)
        for step in range(first, steps):
            torch.manual_seed(derived_seed(settings.seed, "dropout", step, share.process))
            for group in optimizer.param_groups:
                group["lr"] = options.learning_rate * rate_at(step, steps, options.warmup_steps, options.schedule)
            for part in range(options.gradient_accumulation):
                batch = next(loader).to(accelerator.device)
                if batch.latents is None:
                    batch = replace(batch, latents=latents_of(batch, stable.vae))
                if options.compile and (step, part) == (first, 0):
                    check_gradients(module, batch, accelerator)
                with accelerator.accumulate(prepared):
                    losses = prepared(batch)
                    accelerator.backward(losses["loss"])
                    if accelerator.sync_gradients and options.max_gradient_norm:
                        accelerator.clip_grad_norm_(weights.values(), options.max_gradient_norm)
                    optimizer.step()
                    optimizer.zero_grad()
                terms = terms + torch.stack([value.detach().float() for value in losses.values()])
            for name, value in average.items():
                value.lerp_(weights[name].detach(), 1 - decay_at(step, options.ema))
            done = step + 1
            if bar:
                bar.update(share.total)
            if done % options.log_every == 0 or done == steps:
                means = accelerator.reduce(terms / (done - logged) / options.gradient_accumulation, "mean").tolist()
                numbers = dict(zip(losses, means, strict=True)) | {"updates": done - logged}
                curves.log(done, numbers | {"learning_rate": group["lr"], "epoch": done * share.total / len(items)})
                terms, logged = torch.zeros_like(terms), done
            if options.sample_every and (done % options.sample_every == 0 or done == steps) and not is_zero3(accelerator):
                with whole(weights, average, accelerator):
                    if accelerator.is_main_process:
                        path, kept = folder / "samples" / f"{done:07d}.png", (inputs.space, inputs.contents)
                        module.eval()
                        save_samples(path, stable, module.mapper, *kept, settings.generate, options.samples, size)
                        module.train()
                accelerator.wait_for_everyone()
            is_last = stop_is_asked()
            if done % options.checkpoint_every == 0 or done == steps or is_last:
                others = {"logged": logged, "terms": accelerator.reduce(terms, "mean").tolist()}
                kept = options.checkpoints_kept
                save_checkpoint(folder / "checkpoints", done, kept, accelerator, prepared, optimizer, average, others)
            if is_last:
                stop(f"a checkpoint was saved after update {done:,} of {steps:,}")
    with whole(weights, average, accelerator):
        if accelerator.is_main_process:
            facts = _facts(inputs, steps, share, curves.last())
            built = replace(recipe, what="generator")
            save_generator(result, built, settings, module.mapper, inputs.space, module.unet, hashes, inputs.contents, facts)
            recipe.finish(folder / RECIPE)
            if options.push_to_hub:
                upload(result, options.push_to_hub)
    accelerator.wait_for_everyone()
    curves.finish()
    log.info(f"mapper: trained for {steps:,} updates; the generator is in {relative_to_root(result)}")


def rate_at(step: int, steps: int, warmup: int, schedule: str) -> float:
    """Return the share of the peak learning rate at update `step` (from 0) of `steps`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(1, steps - warmup)) if schedule == "cosine" else 1.0


def decay_at(step: int, decay: float) -> float:
    """Return the decay of the moving average at update `step` (from 0): it starts low, to forget the initial weights.

    It is (1 + step) / (10 + step) up to `decay`, and 0 at first, as that of diffusers' EMAModel.
    """
    return min(decay, (1 + step) / (10 + step)) if step else 0.0


@contextmanager
def whole(weights: dict[str, Parameter], average: dict[str, torch.Tensor], accelerator: Accelerator) -> Iterator[None]:
    """Let the trained weights be whole on every process, and be their moving average where there is one."""
    gathered = nullcontext()
    if is_zero3(accelerator):
        import deepspeed  # it takes seconds, and compiles where it is first used

        gathered = deepspeed.zero.GatheredParameters(list(weights.values()))
    with gathered, torch.no_grad():
        own = {name: weights[name].detach().clone() for name in average}
        for name, value in average.items():
            weights[name].copy_(value)
        try:
            yield
        finally:
            for name, value in own.items():
                weights[name].copy_(value)


def _say_what_is_left_out(options: Mapper, inputs: MapperInputs) -> None:
    if not inputs.texts and (options.attribute_weight or options.emotion_weight):
        log.info("mapper: no attribute loss and no emotion loss, for both compare with attributes, and the data have none")
    if options.sample_every and is_zero3(inputs.accelerator):
        log.info("mapper: no samples under ZeRO-3, which shares the U-Net out")


def _recipe(options: Mapper, seed: int, resolution: int, share: Share, base: list[str], inputs: MapperInputs) -> Recipe:
    """Return what the weights depend on; the number of processes only where DeepSpeed shares out its state.

    The models are among the inputs, by their weights. Their names do not count.
    """
    accelerator = inputs.accelerator
    own = {"seed": seed, "models.resolution": resolution}
    left_out = WATCHING | IN_BATCH | KERNELS | {"attributes"}  # the list of attributes is part of their texts
    own |= settings_of("mapper", options, left_out)
    own |= {"mapper.mixed_precision": accelerator.mixed_precision, "batch of all processes": share.total}
    stable = inputs.stable
    schedule = {name: value for name, value in stable.scheduler.config.items() if not name.startswith("_")}
    made_from = inputs.made_from | {"Stable Diffusion": base}
    made_from["noise schedule"] = digest([str(schedule), stable.vae.config.scaling_factor])
    if is_deepspeed(accelerator):
        stage = accelerator.state.deepspeed_plugin.zero_stage
        made_from |= {"number of processes": share.processes, "ZeRO stage": stage}
    return Recipe("mapper", own, made_from)


def _facts(inputs: MapperInputs, steps: int, share: Share, last: dict[str, float]) -> dict:
    """Return facts of the training for the model card; last: the last line of metrics.jsonl."""
    return {
        "images": len(inputs.items.images),
        "rows": len(inputs.items),
        "steps": steps,
        "batch": share.total,
        "losses": {name: last[name] for name in ("loss", "diffusion", "attribute", "emotion") if name in last},
        "losses_updates": int(last.get("updates", 0)),
        "emotion_space": {name: value for name, value in inputs.summary.items() if not isinstance(value, dict)},
        "attributes": inputs.texts is not None,
        "seen": dict(inputs.seen),
    }
