"""How fast the generator trains and makes images at the size of Stable Diffusion 1.5, 512 pixels, in bf16 on one GPU.

    python benchmarks/generator_full_size.py
    python benchmarks/generator_full_size.py miniature       # the same with tiny models, on any machine, to try the script

The weights are random, so nothing is downloaded. The mapper's training is compared with diffusers' textual-inversion
example, which learns a word's embedding instead: a JPEG decoded and the VAE run in each step, the text encoder in float32,
and the embeddings of all words in the optimizer. What share of the GPU's measured matrix-product rate a step reaches is
by the operations that PyTorch counts in it, and a profile names what its time goes to. Rows named compiled have
mapper.compile. Then images: EmotionPipeline against the plain pipeline.
"""

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import diffusers
import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch.profiler import profile
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from config.generation_settings import Mapper
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from training.accelerator import prepare_module, start_accelerator
from training.attributes import AttributeTexts
from training.compiled_unet import check_gradients
from training.emotion_space import EmotionSpace
from training.mapper import EmotionMapper
from training.mapper_data import MapperItems, Share, batches
from training.pipeline import EmotionPipeline
from training.sampling import ready_to_sample
from training.training_module import TrainingModule

MINIATURE = sys.argv[1:] == ["miniature"]
# Stable Diffusion 1.5's, where diffusers' and transformers' defaults are others.
UNET = {"sample_size": 64, "cross_attention_dim": 768}
VAE = {"sample_size": 512, "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
VAE |= {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
WIDTH, ATTRIBUTES, PIXELS, LATENT = 768, 600, 512, (4, 64, 64)
BATCHES, COMPILED = (1, 8, 32, 64), (8, 32)
PLAIN_BATCHES = (1, 16)  # what the example's page runs it with, and its default
SAMPLED = (1, 8)
UPDATES, ROUNDS, STEPS = 4, 3, 50
MATRIX = 8192
if MINIATURE:
    UNET = {"sample_size": 8, "cross_attention_dim": 32, "block_out_channels": (16, 32), "norm_num_groups": 8}
    UNET |= {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "layers_per_block": 1, "attention_head_dim": 4}
    UNET |= {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
    VAE |= {"sample_size": 64, "block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4}
    TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    WIDTH, ATTRIBUTES, PIXELS, LATENT = 32, 20, 64, (4, 8, 8)
    BATCHES, COMPILED, PLAIN_BATCHES, SAMPLED, UPDATES, ROUNDS, STEPS, MATRIX = (1, 2), (2,), (1,), (1,), 2, 1, 2, 256
EMOTIONS = read_taxonomy(DEFAULT).emotions


def main() -> None:
    if not torch.cuda.is_available() and not MINIATURE:
        sys.exit("error: no GPU here, and models of full size need one; give the word miniature to try the script")
    diffusers.logging.set_verbosity_error()  # it warns of every change of precision
    accelerator = start_accelerator(None if torch.cuda.is_available() else "bf16")
    peak = matrix_rate(accelerator.device)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, in miniature"
    print(f"{name}, torch {torch.__version__}: {peak:.3g} TFLOP/s in a matrix product of {MATRIX}³")
    rows, stable = {}, make_stable(accelerator.device)
    for batch in PLAIN_BATCHES:
        rows[f"textual inversion, batch {batch}"] = measured(textual_inversion(accelerator, stable, batch), batch)
    stable = make_stable(accelerator.device)  # anew, for accelerate has wrapped the text encoder
    flops = flops_of(ours(accelerator, stable, 1))
    for batch, compiled in [*((batch, False) for batch in BATCHES), *((batch, True) for batch in COMPILED)]:
        updates = ours(accelerator, stable, batch, compiled)
        row = f"ours{', compiled' if compiled else ''}, batch {batch}"
        try:
            rows[row] = measured(updates, batch)
        except torch.OutOfMemoryError:
            rows[row] = [np.nan, np.nan]
        del updates
        free()
    table = pd.DataFrame(rows, ["images/s", "peak GB"]).T
    table["share of the matrix rate"] = table["images/s"].where(table.index.str.startswith("ours")) * flops / peak
    print(f"\na step: {flops:.3g} TFLOP an image; median of {ROUNDS} rounds of {UPDATES} updates")
    print(table.to_markdown(floatfmt=".2f"), flush=True)
    print(f"\nwhat the time of an update of {BATCHES[-1]} goes to\n{profile_of(ours(accelerator, stable, BATCHES[-1]))}")
    print(f"\n{STEPS} steps of sampling, guidance 7.5, {PIXELS} px; images/s, median of {ROUNDS}")
    print(pd.DataFrame(sampling(stable), [f"batch {batch}" for batch in SAMPLED]).T.to_markdown(floatfmt=".2f"))


def flops_of(updates: Iterator[None]) -> float:
    """Return the TFLOP of an update of one image."""
    next(updates)  # sets the optimizer up
    with FlopCounterMode(display=False) as counter:
        next(updates)
    return counter.get_total_flops() / 1e12


def profile_of(updates: Iterator[None]) -> str:
    """Return a table of the operations that take the most time of an update, on the GPU where there is one."""
    next(updates)
    with profile() as profiled:
        next(updates)
    key = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    return profiled.key_averages().table(sort_by=key, row_limit=12, max_name_column_width=60)


def matrix_rate(device: torch.device) -> float:
    """Return the TFLOP/s of a product of two square matrices in bf16, median of 20."""
    left, right = torch.randn((2, MATRIX, MATRIX), device=device, dtype=torch.bfloat16)
    seconds = [timed(lambda: left @ right) for _ in range(25)][5:]
    return 2 * MATRIX**3 / np.median(seconds) / 1e12


def make_stable(device: torch.device) -> StableDiffusionPipeline:
    """Return a Stable Diffusion 1.5 of random weights, with the demo's tokenizer."""
    folder = ROOT / "demo/models/stable_diffusion"
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    schedule = DDPMScheduler(**betas, clip_sample=False, steps_offset=1)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    with device:
        vae, unet, text = AutoencoderKL(**VAE), UNet2DConditionModel(**UNET), CLIPTextModel(CLIPTextConfig(**TEXT, **ends))
    return StableDiffusionPipeline(vae, text, tokenizer, unet, schedule, None, None, requires_safety_checker=False)


def ours(accelerator: Accelerator, stable: StableDiffusionPipeline, batch: int, compiled: bool = False) -> Iterator[None]:
    """Yield after each update of the mapper, as training/main.py makes it from its caches."""
    device, settings = accelerator.device, Mapper(compile=compiled)
    random = torch.Generator().manual_seed(0)
    space = EmotionSpace.of(*torch.randn((2, len(EMOTIONS), WIDTH), generator=random), EMOTIONS)
    names = [f"attribute {number}" for number in range(ATTRIBUTES)]
    texts = AttributeTexts(names, torch.randn((ATTRIBUTES, WIDTH)), torch.randn((WIDTH, WIDTH)) / WIDTH**0.5, "random")
    classifier = torch.randn((len(EMOTIONS), WIDTH)), torch.zeros(len(EMOTIONS))
    mapper = EmotionMapper(WIDTH, WIDTH)
    mapper.start_from(space, stable.text_encoder.get_input_embeddings().weight.detach().cpu())
    stable.unet.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
    stable.text_encoder.to(dtype=torch.bfloat16)
    schedule = DDPMScheduler.from_config(stable.scheduler.config)
    module = TrainingModule(mapper, stable.text_encoder, stable.unet, schedule, texts, classifier, settings)
    optimizer = torch.optim.AdamW(module.trained_weights().values(), settings.learning_rate, fused=True)
    share = Share(batch, 1, 1, 0)
    prepared, optimizer = prepare_module(accelerator, module.to(device), optimizer, share, settings.max_gradient_norm)
    prepared.train()
    updates = 2 + ROUNDS * UPDATES + 1
    loader = batches(made_items(batch * updates, names, space, random), share, 0, updates, stable.tokenizer, 1, 1000, 1, 2)
    for number, items in enumerate(loader):
        if compiled and not number:
            check_gradients(module, items.to(device), accelerator)
        accelerator.backward(prepared(items.to(device))["loss"])
        accelerator.clip_grad_norm_(mapper.parameters(), settings.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        yield


def made_items(count: int, names: list[str], space: EmotionSpace, random: torch.Generator) -> MapperItems:
    """Return random items, as many as asked for, of 64 images."""
    images = [{name: torch.randn((2, *LATENT), generator=random).half() for name in ("mean", "std")} for _ in range(64)]
    number = np.arange(count)
    rows = pd.DataFrame({
        "image_id": [f"image {i % len(images)}" for i in number],
        "emotion": [EMOTIONS[i % len(EMOTIONS)] for i in number],
        "attribute": [names[i % len(names)] for i in number],
    })  # fmt: skip
    vectors = torch.randn((len(images), 2, WIDTH), generator=random)
    ids = [f"image {i}" for i in range(len(images))]
    return MapperItems(rows, images, ids, vectors, space, names, np.full(count, 0.5), LATENT, 0.5, 0)


class Photos(Dataset):
    """JPEGs as the textual-inversion example reads them."""

    def __init__(self, folder: Path, tokenizer: CLIPTokenizer):
        rng = np.random.default_rng(0)
        self.paths, self.tokenizer = [folder / f"{number}.jpg" for number in range(16)], tokenizer
        for path in self.paths:
            coarse = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
            coarse.resize((1024, 768), Image.Resampling.BICUBIC).save(path, quality=90)  # like a photo's size

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, row: int) -> dict:
        image = Image.open(self.paths[row % len(self.paths)]).convert("RGB")
        pixels = np.asarray(image.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC), np.float32) / 127.5 - 1
        length = self.tokenizer.model_max_length
        ids = self.tokenizer("a photo of a tree", padding="max_length", max_length=length, return_tensors="pt").input_ids[0]
        return {"pixel_values": torch.from_numpy(pixels).permute(2, 0, 1), "input_ids": ids}


def textual_inversion(accelerator: Accelerator, stable: StableDiffusionPipeline, batch: int) -> Iterator[None]:
    """Yield after each update, made as examples/textual_inversion/textual_inversion.py of diffusers makes it."""
    device, dtype = accelerator.device, torch.bfloat16
    stable.unet.requires_grad_(False).to(dtype)
    stable.vae.requires_grad_(False).to(dtype)
    encoder = stable.text_encoder.float().requires_grad_(False).train()
    embeddings = encoder.get_input_embeddings().requires_grad_(True)
    optimizer = torch.optim.AdamW(embeddings.parameters(), 1e-4)
    original = embeddings.weight.detach().clone()
    others = torch.ones(len(original), dtype=torch.bool)
    others[-1] = False
    encoder, optimizer = accelerator.prepare(encoder, optimizer)
    schedule = DDPMScheduler.from_config(stable.scheduler.config)
    with tempfile.TemporaryDirectory() as folder:
        for items in DataLoader(Photos(Path(folder), stable.tokenizer), batch, shuffle=True):
            pixels = items["pixel_values"].to(device, dtype)
            latents = stable.vae.encode(pixels).latent_dist.sample().detach() * stable.vae.config.scaling_factor
            noise = torch.randn_like(latents)
            timesteps = torch.randint(0, 1000, (batch,), device=device)
            noisy = schedule.add_noise(latents, noise, timesteps)
            states = encoder(items["input_ids"].to(device))[0].to(dtype)
            predicted = stable.unet(noisy, timesteps, states).sample
            loss = torch.nn.functional.mse_loss(predicted.float(), noise.float())
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                embeddings.weight[others] = original[others]
            yield


def sampling(stable: StableDiffusionPipeline) -> dict[str, list[float]]:
    """Return images/s by pipeline and kind of prompt, for each of SAMPLED."""
    random = torch.Generator().manual_seed(0)
    space = EmotionSpace.of(*torch.randn((2, len(EMOTIONS), WIDTH), generator=random), EMOTIONS)
    pipes = [EmotionPipeline(**stable.components, mapper=EmotionMapper(WIDTH, WIDTH), emotion_space=space) for _ in range(2)]
    pipes = [pipe.to(dtype=torch.bfloat16) for pipe in (stable, *pipes)]
    plain, emotion, compiled = (ready_to_sample(pipe, stable.device) for pipe in pipes)
    compiled.unet = torch.compile(compiled.unet, dynamic=False)
    rows = {
        "plain pipeline": (plain, {"prompt": "a photo of a tree"}),
        "EmotionPipeline, an emotion": (emotion, {"emotion": "awe"}),
        "EmotionPipeline, an emotion, its U-Net compiled": (compiled, {"emotion": "awe"}),
        "EmotionPipeline, an emotion on a content, strength 0.6": (
            emotion,
            {"prompt": "a photo of a <emotion> tree", "emotion": "awe", "emotion_strength": 0.6},
        ),
    }
    seconds = {name: [[] for _ in SAMPLED] for name in rows}
    for round_ in range(ROUNDS + 1):  # the first warms up
        for name, (pipe, prompt) in rows.items():
            for place, batch in enumerate(SAMPLED):
                arguments = prompt | {"num_images_per_prompt": batch, "num_inference_steps": STEPS if round_ else 2}
                took = timed(lambda pipe=pipe, arguments=arguments: pipe(**arguments))
                if round_:
                    seconds[name][place].append(took)
    return {name: [b / np.median(s) for b, s in zip(SAMPLED, each, strict=True)] for name, each in seconds.items()}


def measured(updates: Iterator[None], batch: int) -> list[float]:
    """Return the images/s and the most memory, in GB, of an endless training, after one update to warm up."""
    next(updates)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    seconds = [timed(lambda: [next(updates) for _ in range(UPDATES)]) for _ in range(ROUNDS)]
    peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else np.nan
    return [batch * UPDATES / np.median(seconds), peak]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that work takes, on the GPU where there is one."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def free() -> None:
    """Give back the memory of what is no longer used."""
    gc.collect()
    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
