"""The emotion space: one Gaussian of emotion vectors for each of the eight emotions."""

from collections.abc import Mapping

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from config.errors import UserError
from emoset.labels import EMOTIONS


class EmotionSpace(ModelMixin, ConfigMixin):
    """Gaussians N(mean, factor factorᵀ) of the emotions, in the order of EMOTIONS.

    mean: (8, dimension). factor: standard deviations (8, dimension) or, with `full`, lower triangles (8, dimension,
    dimension).
    """

    @register_to_config
    def __init__(self, dimension: int = 768, full: bool = False):
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(EMOTIONS), dimension))
        shape = (len(EMOTIONS), dimension, dimension) if full else (len(EMOTIONS), dimension)
        self.register_buffer("factor", torch.zeros(shape))

    @classmethod
    def of(cls, mean: torch.Tensor, factor: torch.Tensor) -> "EmotionSpace":
        """Return the space with these Gaussians."""
        space = cls(mean.shape[1], factor.ndim == 3)
        space.mean.copy_(mean)
        space.factor.copy_(factor)
        return space

    def variance(self) -> torch.Tensor:
        """Return the variances (8, dimension) of each emotion's vectors."""
        squares = self.factor.square()
        return squares.sum(2) if self.config.full else squares

    def sample(self, weights: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return emotion vectors (B, dimension) for weights (B, 8) that sum to 1 and standard normal noise (B, dimension).

        Of a mix every emotion's vector is made from the same noise, and the vectors are averaged by weight: moving the
        weight from one emotion to another moves the vector on a straight line.
        """
        if self.config.full:
            spread = torch.einsum("eij,bj->bei", self.factor, noise.to(self.factor))
        else:
            spread = self.factor * noise.to(self.factor)[:, None]
        return torch.einsum("be,bei->bi", weights.to(self.mean), self.mean + spread)


def emotion_weights(emotion: str | Mapping[str, float]) -> torch.Tensor:
    """Return the weights (8,), summing to 1, of an emotion or a mix of them; raises UserError for anything else."""
    mix = {emotion: 1.0} if isinstance(emotion, str) else dict(emotion)
    unknown = [name for name in mix if name not in EMOTIONS]
    if unknown or not mix:
        raise UserError(f"emotion {', '.join(map(repr, unknown)) or 'missing'}: choose from {', '.join(EMOTIONS)}")
    weights = torch.tensor([float(mix.get(name, 0)) for name in EMOTIONS])
    if not torch.isfinite(weights).all() or (weights < 0).any() or weights.sum() == 0:
        raise UserError(f"emotion {mix}: weights must be 0 or more, and one of them more than 0")
    return weights / weights.sum()
