"""Prompts in a key/value cache of fixed size and place, after which decoding can be compiled.

A decoding step of a large model launches some thousand kernels, and a GPU waits for Python between them. `generate` compiles
the step where its cache is static: with CUDA graphs it is one launch.
"""

from torch import nn
from transformers import CompileConfig, DynamicCache, StaticCache

PLACES = 256  # The cache has a multiple of these, for each other size is compiled anew.
COMPILED = CompileConfig(dynamic=False)  # dynamic: a second size would compile a slower step for any


class StaticPrefix:
    """Keeps one cache for all generations of a model, as long as their prompts and answers fit it."""

    def __init__(self, model: nn.Module):
        self.config, self.rows, self.places = model.config, 0, 0

    def __call__(self, prefix: DynamicCache, group: int, tokens: int) -> StaticCache:
        """Return the cache, which has each row of `prefix` `group` times and places for `tokens` tokens in all."""
        rows = len(prefix.layers[0].keys) * group
        if rows != self.rows or tokens > self.places:
            self.rows, self.places = rows, max(self.places, -(-tokens // PLACES) * PLACES)
            self.cache = StaticCache(self.config, max_cache_len=self.places)
        self.cache.reset()
        for number, layer in enumerate(prefix.layers):
            self.cache.update(layer.keys.repeat_interleave(group, 0), layer.values.repeat_interleave(group, 0), number)
        return self.cache
