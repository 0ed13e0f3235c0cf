"""Prompts in a key/value cache of fixed size and place, after which decoding can be compiled.

To sample a token, a large model launches some thousand kernels, and a GPU waits for Python between them. `generate` compiles
a model's step where its cache is static, so that CUDA graphs launch it at once.
"""

from collections.abc import Callable
from copy import deepcopy

from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from transformers import CompileConfig, DynamicCache, GenerationConfig, StaticCache
from transformers.cache_utils import StaticLayer

from config.errors import UserError, first_line

PLACES = 128  # The cache has a multiple of these, for each other size is compiled anew.
COMPILED = CompileConfig(dynamic=False)  # dynamic: a second size would compile a slower step for any
TOLERANCE = {True: 0.01, False: 0.05}  # by whether all is float32: how far from plain logits, as a share of their norm


class FullLayer(StaticLayer):
    """A static layer of the precision of its first keys: under autocast a model's keys and values differ in theirs."""

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        if self.is_initialized:
            key_states, value_states = key_states.to(self.dtype), value_states.to(self.dtype)
        return super().update(key_states, value_states, *args, **kwargs)


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
            self.cache.layers = [FullLayer(self.places) for _ in prefix.layers]
        self.cache.reset()
        for number, layer in enumerate(prefix.layers):
            self.cache.update(layer.keys.repeat_interleave(group, 0), layer.values.repeat_interleave(group, 0), number)
        return self.cache


def check_decoding(model: nn.Module, inputs: Callable[[], dict], settings: GenerationConfig, is_exact: bool) -> None:
    """Raise UserError where the compiled step does not give the plain one's logits, or cannot be compiled.

    inputs: makes what `generate` is called with, anew each time. settings: of the generation. is_exact: all is float32.
    """
    once = deepcopy(settings)
    once.update(max_new_tokens=2, min_new_tokens=2, do_sample=False, output_logits=True, return_dict_in_generate=True)

    def logits(compile_config: CompileConfig | None) -> Tensor:
        """Return the logits (B, V) of the second token, which is the first one of the step that is compiled."""
        once.disable_compile, once.compile_config = compile_config is None, compile_config
        return model.generate(**inputs(), generation_config=once).logits[1].float()

    plain = logits(None)
    try:
        compiled = logits(settings.compile_config)
    except TorchDynamoException as error:
        reason = first_line(getattr(error, "inner_exception", error))
        raise UserError(
            f"grpo.compile_decoding: torch.compile failed ({reason}); set grpo.compile_decoding=false"
        ) from error
    apart = ((compiled - plain).norm() / plain.norm()).item()
    if not apart <= TOLERANCE[is_exact]:
        raise UserError(
            f"grpo.compile_decoding: the compiled step's logits lie {apart:.2g} of their norm from the plain ones, and"
            f" rounding explains no more than {TOLERANCE[is_exact]}; set grpo.compile_decoding=false"
        )
