"""The one module that is trained and prepared for many processes: the mapper, within the frozen models it works on."""

from contextlib import nullcontext

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig
from torch import nn
from transformers import CLIPTextModel

from config.generation_settings import Mapper
from training.attributes import AttributeTexts
from training.compiled_unet import compiled, plain
from training.conditioning import encode, pooled
from training.emotion_lora import LORA
from training.losses import attribute_loss, diffusion_loss, emotion_loss, total_loss
from training.mapper import EmotionMapper
from training.mapper_data import Batch


class TrainingModule(nn.Module):
    """Computes the losses of a batch. Only the mapper, and LoRA if there is any, have gradients of weights.

    texts and classifier (weight (K, d), bias (K,) of emotions on text features) are None where neither the attribute nor the
    emotion loss counts: the loss is then the diffusion loss alone.
    """

    def __init__(
        self,
        mapper: EmotionMapper,
        text_encoder: CLIPTextModel,
        unet: UNet2DConditionModel,
        schedule: DDPMScheduler,
        texts: AttributeTexts | None,
        classifier: tuple[torch.Tensor, torch.Tensor] | None,
        settings: Mapper,
    ):
        super().__init__()
        self.mapper = mapper
        self.text_encoder = text_encoder.requires_grad_(False).eval()
        self.unet = unet.requires_grad_(False).eval()
        self.schedule, self.settings = schedule, settings
        if settings.lora_rank:
            targets = [*lora_layers(self.unet)]
            config = LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_rank, target_modules=targets)
            self.unet.add_adapter(config, adapter_name=LORA)
            for weight in self.unet.parameters():
                weight.data = weight.data.float() if weight.requires_grad else weight.data
        if settings.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        # Not the U-Net itself is compiled, but a function of it: samples are drawn with the plain one, and hooks on it.
        self.run_unet = compiled(self.unet) if settings.compile else plain(self.unet)
        # Frozen, and float32 whatever the others are: not parameters, which DeepSpeed would cast or share out.
        self.constants = () if texts is None else (texts.features, texts.projection, *classifier)

    def train(self, mode: bool = True) -> "TrainingModule":
        """Switch the mapper's dropout alone; the U-Net checkpoints gradients only in training mode and has no dropout."""
        super().train(False)
        self.mapper.train(mode)
        self.unet.train(mode and self.settings.gradient_checkpointing)
        return self

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the loss and, detached, each of its terms: means over the batch."""
        settings, (states, predicted) = self.settings, self.predict(batch)
        if self.schedule.config.prediction_type == "v_prediction":
            target = self.schedule.get_velocity(batch.latents, batch.noise, batch.timesteps)
        else:
            target = batch.noise
        with torch.autocast(batch.noise.device.type, enabled=False):  # a temperature makes rounding errors large
            diffusion = self.diffusion(predicted, target, batch)
            attribute, emotion = self._text_losses(states, batch) if self.constants else (0.0, 0.0)
        weights = settings.attribute_weight, settings.emotion_weight, settings.alpha_discount
        loss = total_loss(diffusion, attribute, emotion, batch.alpha, *weights)
        terms = {"diffusion": diffusion}
        if self.constants:
            terms |= {"attribute": attribute, "emotion": emotion, "alpha": batch.alpha}
        return {"loss": loss.mean()} | {name: term.detach().float().mean() for name, term in terms.items()}

    def predict(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the prompts' states (B, L, width), and what the U-Net predicts (B, C, h, w) of the noised latents."""
        states = encode(self.text_encoder, batch.prompts, self.mapper(batch.vectors))
        noisy = self.schedule.add_noise(batch.latents, batch.noise, batch.timesteps)
        # A U-Net in half precision needs no autocast, which would take its norms to float32 and back; LoRA's weights do.
        is_half = self.unet.dtype != torch.float32 and not self.settings.lora_rank
        with torch.autocast(batch.noise.device.type, enabled=False) if is_half else nullcontext():
            return states, self.run_unet(noisy.to(self.unet.dtype), batch.timesteps, states.to(self.unet.dtype))

    def diffusion(self, predicted: torch.Tensor, target: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the diffusion loss (B,) of predictions, whose targets are the noise or the velocity (B, C, h, w)."""
        return diffusion_loss(predicted, target)

    def _text_losses(self, states: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the attribute and the emotion loss (B,) of the prompts' states (B, L, width)."""
        self.constants = tuple(constant.to(states.device) for constant in self.constants)
        features, projection, weight, bias = self.constants
        texts = nn.functional.linear(pooled(states, batch.prompts, self.settings.pooled).float(), projection)
        attribute = attribute_loss(texts, features, batch.attributes, self.settings.attribute_temperature)
        return attribute, emotion_loss(texts, weight, bias, batch.emotions)

    def trained_weights(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are trained, by name."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}


def lora_layers(unet: UNet2DConditionModel) -> dict[str, nn.Linear]:
    """Return the layers of the U-Net that LoRA acts on, by name: those of its cross-attention."""
    ends = tuple(f"attn2.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0"))
    return {name: layer for name, layer in unet.named_modules() if name.endswith(ends)}


@torch.no_grad()
def latents_of(batch: Batch, vae: AutoencoderKL) -> torch.Tensor:
    """Return the latents (B, C, h, w) of a batch that holds pixels: what the cache would have given."""
    moments = vae.encode(batch.pixels.to(vae.dtype) / 127.5 - 1).latent_dist
    mean, std = moments.mean.half().float(), moments.std.half().float()  # as the cache keeps them
    return (mean + std * batch.posterior_noise) * vae.config.scaling_factor
