"""The mapper: from an emotion vector to the embeddings of the placeholder's tokens."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from training.emotion_space import EmotionSpace


class EmotionMapper(ModelMixin, ConfigMixin):
    """Maps emotion vectors (B, dimension) to token embeddings (B, tokens, width).

    hidden_layers: 0 is one linear layer, and 1 is linear, ReLU, linear, as EmoGen published them. More layers have
    LayerNorm, ReLU and dropout after each.

    It departs from the published mapper in two ways. Its input is standardised, since the vectors of an encoder may have a
    norm of 30. Its last layer's output is multiplied by the standard deviation of the vocabulary's embeddings and added to
    their mean, so that training starts among words.
    """

    @register_to_config
    def __init__(
        self,
        dimension: int = 768,
        width: int = 768,
        tokens: int = 1,
        hidden_layers: int = 1,
        hidden_size: int = 1024,
        dropout: float = 0.1,
    ):
        super().__init__()
        layers, size = [], dimension
        for _ in range(hidden_layers):
            layers.append(nn.Linear(size, hidden_size))
            layers += [nn.LayerNorm(hidden_size)] if hidden_layers > 1 else []
            layers.append(nn.ReLU())
            layers += [nn.Dropout(dropout)] if hidden_layers > 1 else []
            size = hidden_size
        self.layers = nn.Sequential(*layers, nn.Linear(size, tokens * width))
        self.register_buffer("vector_mean", torch.zeros(dimension))
        self.register_buffer("vector_scale", torch.ones(dimension))
        self.register_buffer("word_mean", torch.zeros(width))
        self.register_buffer("word_scale", torch.ones(width))

    def start_from(self, space: EmotionSpace, vocabulary: torch.Tensor) -> None:
        """Take the means and standard deviations of the space's vectors and of token embeddings (words, width)."""
        self.vector_mean.copy_(space.mean.mean(0))
        self.vector_scale.copy_((space.variance().mean(0) + space.mean.var(0, correction=0)).sqrt().clamp(min=1e-6))
        self.word_mean.copy_(vocabulary.float().mean(0))
        self.word_scale.copy_(vocabulary.float().std(0))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        standard = (vectors.to(self.vector_mean) - self.vector_mean) / self.vector_scale
        made = self.layers(standard.to(self.layers[-1].weight.dtype))  # DeepSpeed halves weights, and leaves buffers
        return self.word_mean + self.word_scale * made.unflatten(1, (self.config.tokens, self.config.width))
