"""The tiny models, their training data and their losses."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from tokenizers import Tokenizer, models, trainers
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    ResNetConfig,
    ResNetForImageClassification,
)

from demo.drawn.render import render
from demo.drawn.world import CUES, EMOTIONS, Cues, draw_cues
from demo.making.captions import all_texts, caption, draw_content
from runtime.files import write_json
from runtime.run_folder import progress
from runtime.workers import worker_pool

CONTENTS = sorted({f"{kind}: {name}" for kind in CUES for names in CUES[kind].values() for name in names})
SIZE = 64  # pixels
TEXT_LENGTH = 20  # tokens, with the first and the last
# Stable Diffusion 2's way, and a noisier end than its 0.012. A U-Net that predicts epsilon, or one that the last step still
# leaves some of the image, reads the light off the noise and not off the caption (Lin et al. 2024).
SCHEDULE = dict(
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.02,
    beta_schedule="scaled_linear",
    prediction_type="v_prediction",
)


class Images:
    """Drawn images and what they show, in memory: `pixels` (N, 3, H, W) uint8, `cues` and `emotions` of the same length."""

    def __init__(self, pixels: torch.Tensor, cues: list[Cues], emotions: list[str]):
        self.pixels, self.cues, self.emotions = pixels, cues, emotions

    def batch(self, rows: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return images (n, 3, H, W) in [-1, 1], half of them mirrored."""
        pixels = self.pixels[rows].to(device).float().div_(127.5).sub_(1)
        mirrored = torch.rand(len(rows), 1, 1, 1, device=device) < 0.5
        return torch.where(mirrored, pixels.flip(3), pixels).contiguous(memory_format=torch.channels_last)


def draw_images(path: Path, count: int, size: int, seed: int, emotional: bool, processes: int | None) -> Images:
    """Draw `count` images, or read them from `path`: of uniform content, or of each emotion in equal numbers."""
    pixels, listed = path.with_suffix(".npy"), path.with_suffix(".json")
    if not listed.exists():
        array = np.lib.format.open_memmap(pixels, "w+", np.uint8, (count, 3, size, size))
        rows = []
        with worker_pool(processes) as pool:
            drawn = pool.map(partial(_draw_image, size, f"{seed} {path.stem}", emotional), range(count), chunksize=100)
            for number, (image, cues, emotion) in enumerate(progress(drawn, "drawing", count)):
                array[number] = image
                rows.append([asdict(cues), emotion])
        array.flush()
        write_json(listed, rows)
    rows = json.loads(listed.read_text())
    return Images(torch.from_numpy(np.load(pixels)), [Cues(**cues) for cues, _ in rows], [emotion for _, emotion in rows])


def _draw_image(size: int, seed: str, emotional: bool, number: int) -> tuple[np.ndarray, Cues, str]:
    rng = Random(f"{seed} {number}")
    emotion = EMOTIONS[number % len(EMOTIONS)] if emotional else ""
    cues = draw_cues(emotion, rng) if emotional else draw_content(rng)
    return np.asarray(render(cues, size, rng)).transpose(2, 0, 1), cues, emotion


def make_tokenizer(seed: int) -> CLIPTokenizer:
    """Return a CLIP tokenizer (byte-pair encoding) of the words in the captions and prompts."""
    blank = CLIPTokenizer().backend_tokenizer
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learned.normalizer, learned.pre_tokenizer = blank.normalizer, blank.pre_tokenizer
    alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789,.<>-'")
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        special_tokens=[f"{letter}</w>" for letter in alphabet],  # else their order is another in each process
        show_progress=False,
        min_frequency=2,
    )
    learned.train_from_iterator(all_texts(Random(f"{seed} texts")), trainer)
    bpe = json.loads(learned.to_str())["model"]
    vocab = {word: number for number, word in enumerate([*bpe["vocab"], "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=[tuple(pair) for pair in bpe["merges"]], model_max_length=TEXT_LENGTH)


class GroupNorm(torch.nn.GroupNorm):
    """Group norm in single precision: in bfloat16, what is around it here, a CPU takes three times as long over it."""

    def forward(self, images):
        with torch.autocast(images.device.type, enabled=False):
            normed = F.group_norm(images.float(), self.num_groups, self.weight.float(), self.bias.float(), self.eps)
        return normed.to(images.dtype)


def quick(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model, made quicker to train in bfloat16 on a CPU."""
    for part in model.modules():
        if isinstance(part, torch.nn.GroupNorm):
            part.__class__ = GroupNorm
    return model.to(memory_format=torch.channels_last)


def half_precision(device: torch.device) -> torch.autocast:
    """Return autocast to bfloat16, but not on a CPU without instructions for it, which would take five times as long."""
    has_it = device.type != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.autocast(device.type, torch.bfloat16, enabled=has_it)


def make_autoencoder() -> AutoencoderKL:
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
    )
    return quick(vae)


def make_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    text = dict(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = dict(
        hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4, image_size=64, patch_size=8
    )
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


def make_unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        cross_attention_dim=96,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    unet.set_attn_processor(AttnProcessor())  # of so few pixels, the fused one takes a CPU longer
    return quick(unet)


def make_resnet(labels: list[str], widths: tuple[int, ...]) -> ResNetForImageClassification:
    names = dict(enumerate(labels))
    config = ResNetConfig(
        embedding_size=widths[0],
        hidden_sizes=list(widths),
        depths=[1, 1, 2, 1],
        layer_type="basic",
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    return ResNetForImageClassification(config).to(memory_format=torch.channels_last)


Loss = Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]  # (module, rows of the data set) -> loss


def content_loss(data: Images, soft: float = 0.0) -> Loss:
    """Return binary cross-entropy over the names of all contents.

    soft: the share of images that are shown at half their resolution, as blurred as an autoencoder may leave them.
    """
    place = {name: number for number, name in enumerate(CONTENTS)}
    targets = torch.zeros(len(data.cues), len(CONTENTS))
    for row, cues in enumerate(data.cues):
        for kind, name in asdict(cues).items():
            if name is not None:
                targets[row, place[f"{kind}: {name}"]] = 1

    def loss(resnet, rows):
        images = data.batch(rows, resnet.device)
        halved = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="bilinear")
        images = torch.where(torch.rand(len(rows), 1, 1, 1, device=images.device) < soft, halved, images)
        return F.binary_cross_entropy_with_logits(resnet(images).logits, targets[rows].to(resnet.device)) * 10

    return loss


def emotion_loss(data: Images) -> Loss:
    """Return cross-entropy over the emotions."""
    targets = torch.tensor([EMOTIONS.index(emotion) for emotion in data.emotions])

    def loss(resnet, rows):
        return F.cross_entropy(resnet(data.batch(rows, resnet.device)).logits, targets[rows].to(resnet.device))

    return loss


def reconstruction_loss(data: Images, backbone: ResNetForImageClassification) -> Loss:
    """Return what an autoencoder gets wrong: pixels, edges, colours, what the backbone sees; and a little KL.

    The pixels' errors count by themselves and squared, those of the edges (differences of neighbours) and colours (red less
    green, yellow less blue, of 4 x 4 pixels together) by themselves. What the backbone sees is its features at unit length,
    as in LPIPS.
    """

    def features(images):
        stages = backbone.resnet(images, output_hidden_states=True).hidden_states
        return [F.normalize(stage, dim=1) for stage in stages[:3]]

    def loss(vae, rows):
        images = data.batch(rows, vae.device)
        with half_precision(vae.device):
            posterior = vae.encode(images).latent_dist
            error = vae.decode(posterior.sample()).sample.float() - images
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        red, green, blue = F.avg_pool2d(error, 4).unbind(1)
        colours = (red - green).abs().mean() + ((red + green) / 2 - blue).abs().mean()
        with torch.no_grad():
            wanted = features(images)
        seen = sum((a - b).square().sum(1).mean() for a, b in zip(features(images + error), wanted, strict=True))
        kl = posterior.kl().float().mean() / posterior.mean[0].numel()
        return error.abs().mean() + 4 * error.square().mean() + 0.5 * (edges + colours) + 0.03 * seen + 5e-4 * kl

    return loss


def contrastive_loss(data: Images, tokenizer: CLIPTokenizer) -> Loss:
    """Return CLIP's loss, with equal captions within a batch counted as equally right."""

    def loss(clip, rows):
        texts = _captions(data, rows, 0.5)
        out = clip(input_ids=_tokens(tokenizer, texts, clip.device), pixel_values=data.batch(rows, clip.device))
        same = torch.tensor([[a == b for b in texts] for a in texts], device=clip.device).float()
        same = same / same.sum(1, keepdim=True)
        logits = out.logits_per_text
        return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2

    return loss


def encode_latents(vae: AutoencoderKL, data: Images) -> torch.Tensor:
    """Return the moments (N, 2, 4, 16, 16), mean and standard deviation, of all images; set the scaling factor by them."""
    moments = []
    for rows in torch.arange(len(data.cues)).split(250):
        pixels = data.pixels[rows].to(vae.device).float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)
        with half_precision(vae.device):
            posterior = vae.encode(pixels).latent_dist
        moments.append(torch.stack([posterior.mean, posterior.std], 1).float().cpu())
    moments = torch.cat(moments)
    vae.register_to_config(scaling_factor=round(1 / moments[:, 0].std().item(), 4))
    return moments * vae.config.scaling_factor


def denoising_loss(moments: torch.Tensor, data: Images, clip: CLIPModel, tokenizer: CLIPTokenizer) -> Loss:
    """Return the squared error of the velocity (Salimans & Ho 2022), at little noise weighted less (Hang et al. 2023).

    Half of the captions name all there is to see, a tenth are empty.
    """
    schedule = DDPMScheduler(**SCHEDULE)
    text_encoder = text_tower(clip)
    signal = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)  # to noise: SNR
    weights = signal.clamp(max=5) / (signal + 1)

    def loss(unet, rows):
        mean, std = moments[rows].to(unet.device).unbind(1)
        latents = mean + std * torch.randn_like(mean)
        noise, timesteps = torch.randn_like(latents), torch.randint(1000, (len(rows),), device=unet.device)
        full = len(rows) // 2
        texts = _captions(data, rows[:full], 1.0) + _captions(data, rows[full:], 0.6)
        texts = [text if torch.rand(()) > 0.1 else "" for text in texts]
        with torch.no_grad():
            states = text_encoder(_tokens(tokenizer, texts, unet.device)).last_hidden_state
        noisy = schedule.add_noise(latents, noise, timesteps).contiguous(memory_format=torch.channels_last)
        with half_precision(unet.device):
            predicted = unet(noisy, timesteps, states).sample
        error = (predicted.float() - schedule.get_velocity(latents, noise, timesteps)).square().mean((1, 2, 3))
        return (weights.to(unet.device)[timesteps] * error).mean()

    return loss


def text_tower(clip: CLIPModel) -> CLIPTextModel:
    """Return the text half of a CLIP as the text encoder of a StableDiffusionPipeline."""
    tower = CLIPTextModel(clip.config.text_config).to(clip.device)
    tower.load_state_dict(clip.text_model.state_dict())
    return tower.eval().requires_grad_(False)


def save_stable_diffusion(folder: Path, vae, clip: CLIPModel, unet, tokenizer: CLIPTokenizer) -> None:
    """Write the models in half precision, as a StableDiffusionPipeline's folder and a CLIP's."""
    parts = dict(vae=vae, text_encoder=text_tower(clip), unet=unet, tokenizer=tokenizer)
    # Leading steps, if few, would begin at less noise than there is (Lin et al. 2024).
    options = dict(skip_prk_steps=True, set_alpha_to_one=False, timestep_spacing="trailing", steps_offset=1)
    scheduler = PNDMScheduler(**SCHEDULE, **options)
    pipeline = StableDiffusionPipeline(
        **parts, scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.to(dtype=torch.float16).save_pretrained(folder / "stable_diffusion")
    clip.half().save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
    size = dict(height=SIZE, width=SIZE)
    CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False).save_pretrained(folder / "clip")


def _captions(data: Images, rows: torch.Tensor, detail: float) -> list[str]:
    rng = Random(torch.initial_seed())
    return [caption(data.cues[row], rng, detail) for row in rows.tolist()]


def _tokens(tokenizer: CLIPTokenizer, texts: list[str], device: torch.device) -> torch.Tensor:
    """Return token ids (n, TEXT_LENGTH), padded as Stable Diffusion pads its prompts."""
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(device)
