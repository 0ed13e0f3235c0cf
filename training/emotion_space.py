"""The emotion space: one Gaussian of emotion vectors for each emotion."""

from collections.abc import Mapping, Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from config.errors import UserError
from config.taxonomy import DEFAULT, read_taxonomy


class EmotionSpace(ModelMixin, ConfigMixin):
    """Gaussians N(mean, factor factorᵀ) of K emotions, in the order of `emotions`.

    mean: (K, dimension). factor: standard deviations (K, dimension) or, with `full`, lower triangles (K, dimension,
    dimension).
    """

    @register_to_config
    def __init__(self, dimension: int = 768, full: bool = False, emotions: Sequence[str] | None = None):
        """emotions: their names; None, as in a folder of an earlier version of this project: those of EmoSet."""
        super().__init__()
        self._emotions = tuple(emotions or read_taxonomy(DEFAULT).emotions)
        count = len(self._emotions)
        self.register_buffer("mean", torch.zeros(count, dimension))
        self.register_buffer("factor", torch.zeros((count, dimension, dimension) if full else (count, dimension)))

    @classmethod
    def of(cls, mean: torch.Tensor, factor: torch.Tensor, emotions: Sequence[str] | None = None) -> "EmotionSpace":
        """Return the space with these Gaussians. Raises ValueError where there are not as many as emotions."""
        space = cls(mean.shape[1], factor.ndim == 3, None if emotions is None else list(emotions))
        if mean.shape != space.mean.shape or factor.shape != space.factor.shape:
            shapes = f"means {tuple(mean.shape)} and factors {tuple(factor.shape)}"
            raise ValueError(f"{shapes} do not fit {len(space.emotions)} emotions: {', '.join(space.emotions)}")
        space.mean.copy_(mean)
        space.factor.copy_(factor)
        return space

    @property
    def emotions(self) -> tuple[str, ...]:
        """The names of the emotions, in the order of the Gaussians."""
        return self._emotions

    def variance(self) -> torch.Tensor:
        """Return the variances (K, dimension) of each emotion's vectors."""
        squares = self.factor.square()
        return squares.sum(2) if self.config.full else squares

    def sample(self, weights: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return emotion vectors (B, dimension) for weights (B, K) that sum to 1 and standard normal noise (B, dimension).

        The vectors of a mix are made from the same noise for every emotion, and are averaged by weight: moving the
        weight from one emotion to another moves the vector on a straight line.
        """
        if self.config.full:
            spread = torch.einsum("eij,bj->bei", self.factor, noise.to(self.factor))
        else:
            spread = self.factor * noise.to(self.factor)[:, None]
        return torch.einsum("be,bei->bi", weights.to(self.mean), self.mean + spread)


def emotion_weights(emotion: str | Mapping[str, float], emotions: Sequence[str]) -> torch.Tensor:
    """Return the weights (K,), summing to 1, of one of the K `emotions` or a mix of them.

    Raises UserError for anything else.
    """
    mix = {emotion: 1.0} if isinstance(emotion, str) else dict(emotion)
    unknown = [name for name in mix if name not in emotions]
    if unknown or not mix:
        raise UserError(f"emotion {', '.join(map(repr, unknown)) or 'missing'}: choose from {', '.join(emotions)}")
    weights = torch.tensor([float(mix.get(name, 0)) for name in emotions])
    if not torch.isfinite(weights).all() or (weights < 0).any() or weights.sum() == 0:
        raise UserError(f"emotion {mix}: weights must be 0 or more, and one of them more than 0")
    return weights / weights.sum()
