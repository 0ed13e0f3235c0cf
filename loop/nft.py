"""DiffusionNFT (Zheng et al. 2025), in the form of the base's prediction: which way, and how far, an image pulls the target.

For a generated image x, noised at t, with y the true noise (or velocity) and f the prediction:

    L = ‖f(x_t) - [f_old(x_t) + (w / β) (y - f_old(x_t))]‖²            w: of zero mean

It is the ordinary loss with a shifted target, and a trust region: w = β is the ordinary loss, w = 0 keeps the old
prediction, w < 0 turns away from the image. Up to a factor β² and a constant it is the published loss of two implicit
policies, (1-β) f_old + β f and (1+β) f_old - β f, with r = (1 + w) / 2. f is the plain prediction of the condition, without
guidance, whatever the images were made with. Beside it stands, with loop.data_weight, the ordinary loss on real images
instead of a divergence from the start (DDRL, 2512.04332): in it w / β is 1.

    A = (R - mean of the group) / (standard deviation of all R)         R: the reward of an image
    w = clip(A, ±2) / 2, or 0 where reward and gate disagree; the others are moved to a mean of zero

The clipped numbers lie in [-1, 1]. Their mean does too, so w lies in (-2, 2): where most images are far below their group's
mean, the few good ones count for more than 1.
"""

from pathlib import Path

import torch
from peft import set_peft_model_state_dict
from torch import Tensor
from torch.func import functional_call

from config.generation_settings import Mapper
from config.loop_settings import Loop
from training.emotion_lora import FOLDER, LORA, EmotionLora
from training.losses import diffusion_loss
from training.mapper import EmotionMapper
from training.mapper_data import Batch
from training.mapper_training import MapperInputs, new_module
from training.training_module import TrainingModule

CLIP = 2.0  # standard deviations, at which an advantage counts fully


def advantages(rewards: Tensor) -> Tensor:
    """Return (C, G): by how many standard deviations of all each reward (C, G) is better than the mean of its group."""
    return (rewards - rewards.mean(1, keepdim=True)) / rewards.std().clamp(min=1e-6)


def signed_weights(advantage: Tensor, agreed: Tensor) -> Tensor:
    """Return w (C, G) of advantages (C, G); agreed: (C, G) whether the gate agrees with the reward."""
    weights = (advantage.clamp(-CLIP, CLIP) / CLIP) * agreed
    return (weights - weights.sum() / agreed.sum().clamp(min=1)) * agreed


def agreement(rewards: Tensor, gates: Tensor) -> Tensor:
    """Return (C, G) whether both networks find an image better than its group's mean, or both do not."""
    return (advantages(rewards) > 0) == (advantages(gates) > 0)


def nft_loss(predicted: Tensor, old: Tensor, target: Tensor, pull: Tensor) -> Tensor:
    """Return L (B,) of predictions (B, C, h, w). pull: (B,), w / β, or 1 for the ordinary loss."""
    return diffusion_loss(predicted, old + pull[:, None, None, None] * (target - old))


class NftModule(TrainingModule):
    """TrainingModule whose targets are shifted by the pull of a batch's images, away from the predictions at the start."""

    def remember(self) -> "NftModule":
        """Take the weights as they are for the old ones, which nothing trains."""
        self.old = {name: weight.detach().clone() for name, weight in self.trained_weights().items()}
        return self

    def forward(self, batch: Batch, prediction_alone: bool = False) -> dict[str, Tensor] | Tensor:
        return self.predict(batch)[1] if prediction_alone else super().forward(batch)

    def diffusion(self, predicted: Tensor, target: Tensor, batch: Batch) -> Tensor:
        if batch.pull is None:
            return super().diffusion(predicted, target, batch)
        training = self.mapper.training
        self.mapper.eval()  # no dropout in what the new prediction is compared with
        with torch.no_grad():
            device = {name: weight.to(predicted.device) for name, weight in self.old.items()}
            old = functional_call(self, device, (batch, True)).float()
        self.mapper.train(training)
        return batch.scale * nft_loss(predicted.float(), old, target.float(), batch.pull)


def module_from(generator: Path, loop: Loop):
    """Return what makes the trained module of train_mapper: one with the weights of a generator's folder."""

    def make(options: Mapper, seed: int, inputs: MapperInputs) -> NftModule:
        module = new_module(options, seed, inputs, NftModule)
        module.mapper.load_state_dict(EmotionMapper.from_pretrained(generator / "mapper").state_dict())
        if options.lora_rank:
            held = EmotionLora.from_pretrained(generator / FOLDER, torch.float32)
            weights = {name.replace("/", "."): value for name, value in held.named_buffers()}
            set_peft_model_state_dict(module.unet, weights, adapter_name=LORA)
            for name, weight in module.unet.named_parameters():
                weight.requires_grad_(f".{LORA}." in name and loop.trains == "mapper_and_lora")
        module.to(inputs.accelerator.device)
        return module.remember()

    return make
