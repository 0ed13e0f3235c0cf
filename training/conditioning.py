"""How an emotion gets into a prompt: as the embeddings of placeholder tokens, through the frozen text encoder.

Training and inference use the same two functions. The tokenizer never learns the placeholder: a prompt is cut at it, its
parts are tokenized as ever, and `tokens` positions are left between them. A hook on the encoder's token embedding fills
these positions, and only these, with the mapper's vectors. Position embeddings, end of text and padding stay.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging
from diffusers.utils.peft_utils import scale_lora_layers, unscale_lora_layers
from transformers import CLIPTextModel, CLIPTokenizer

from config.errors import UserError
from config.generation_settings import PLACEHOLDER

logger = logging.get_logger(StableDiffusionPipeline.__module__)  # who asks for the parent's warnings gets these too


@dataclass(frozen=True)
class TokenizedPrompts:
    """Prompts of which each holds the placeholder once or not at all.

    input_ids: (B, L). At the placeholder stands 0, a low id: encoders that look for the largest id find the end of text.
    placeholder: (B, L) bool, the positions that the emotion fills: none, or as many as it has tokens.
    end: (B,) the position of the end of text. tokens: how many positions a placeholder has.
    """

    input_ids: torch.Tensor
    placeholder: torch.Tensor
    end: torch.Tensor
    tokens: int

    def to(self, device: torch.device) -> "TokenizedPrompts":
        """Return them on `device`, which is where they must be to be encoded."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "TokenizedPrompts":
        """Return them in memory from which a GPU copies while it computes."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "TokenizedPrompts":
        return replace(self, **{name: change(getattr(self, name)) for name in ("input_ids", "placeholder", "end")})

    def cut(self, length: int) -> "TokenizedPrompts":
        """Return their first `length` positions; what they hold up to there has the same states."""
        return replace(self, input_ids=self.input_ids[:, :length], placeholder=self.placeholder[:, :length])


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str], tokens: int) -> TokenizedPrompts:
    """Tokenize prompts, with `tokens` positions where a prompt says <emotion>; pad and cut to the tokenizer's length.

    Raises UserError where a prompt holds the placeholder twice, or so late that it would be cut off.
    """
    length = tokenizer.model_max_length
    rows, where, ends = [], [], []
    for prompt in prompts:
        before, count, after = _parts(tokenizer, prompt, tokens)
        first = 1 + len(before)
        if count and first + count > length - 1:
            raise UserError(
                f"prompt {prompt!r}: {PLACEHOLDER} comes after {length - 2 - tokens} tokens and would be cut off"
            )
        ids = [tokenizer.bos_token_id, *before, *[0] * count, *after][: length - 1]
        ends.append(len(ids))
        ids.append(tokenizer.eos_token_id)
        rows.append(ids + [tokenizer.pad_token_id] * (length - len(ids)))
        where.append([first <= position < first + count for position in range(length)])
    return TokenizedPrompts(torch.tensor(rows), torch.tensor(where), torch.tensor(ends), tokens)


def cut_off(tokenizer: CLIPTokenizer, prompt: str, tokens: int) -> str:
    """Return the end of a prompt that tokenize leaves out because it does not fit, or nothing where all fits."""
    before, count, after = _parts(tokenizer, prompt, tokens)
    room = tokenizer.model_max_length - 2 - len(before) - count
    return tokenizer.decode(after[max(0, room) :] if count else before[tokenizer.model_max_length - 2 :])


def _parts(tokenizer: CLIPTokenizer, prompt: str, tokens: int) -> tuple[list[int], int, list[int]]:
    """Return the tokens before the placeholder, the number of its positions, and the tokens after it."""
    parts = [tokenizer(part, add_special_tokens=False).input_ids for part in prompt.split(PLACEHOLDER)]
    if len(parts) > 2:
        raise UserError(f"prompt {prompt!r}: {PLACEHOLDER} stands in it {len(parts) - 1} times; write it once")
    return (parts[0], tokens, parts[1]) if len(parts) == 2 else (parts[0], 0, [])


def encode(text_encoder: CLIPTextModel, prompts: TokenizedPrompts, embeddings: torch.Tensor | None = None) -> torch.Tensor:
    """Return the encoder's states (B, L, width), with `embeddings` (B, tokens, width) as those of the placeholders.

    Gradients flow into `embeddings`. Prompts without a placeholder are left as they are, whatever their row holds.
    """
    where, mask = prompts.placeholder, None
    if getattr(text_encoder.config, "use_attention_mask", False):  # as diffusers masks the padding
        mask = torch.arange(where.shape[1], device=where.device) <= prompts.end[:, None]

    def fill(module, arguments, output):
        assert where.shape == output.shape[:2], "the prompts reach the encoder in another shape than they were tokenized in"
        assert prompts.tokens == embeddings.shape[1], "one position for each vector"
        # The n-th position of a placeholder takes the n-th vector. No mask is an index: a GPU would wait for its length.
        number = (where.cumsum(1) - 1).clamp(0, prompts.tokens - 1)
        spread = embeddings.to(output).gather(1, number[..., None].expand(-1, -1, output.shape[2]))
        return torch.where(where[..., None], spread, output)

    handle = text_encoder.get_input_embeddings().register_forward_hook(fill) if embeddings is not None else None
    try:
        return text_encoder(prompts.input_ids, attention_mask=mask).last_hidden_state
    finally:
        if handle:
            handle.remove()


def emotion_states(
    pipe: StableDiffusionPipeline, prompts: list[str], embeddings: torch.Tensor, scale: float | None
) -> torch.Tensor:
    """Return the states (B, L, width) of prompts with an emotion, made as the pipeline's parent makes those of others."""
    # A token with several vectors, of a textual inversion, becomes as many tokens.
    parts = (pipe.maybe_convert_prompt(each.split(PLACEHOLDER), pipe.tokenizer) for each in prompts)
    prompts, tokens = [PLACEHOLDER.join(each) for each in parts], embeddings.shape[1]
    if removed := [end for each in prompts if (end := cut_off(pipe.tokenizer, each, tokens))]:
        most = pipe.tokenizer.model_max_length
        logger.warning(f"This part of your prompt was truncated, for CLIP takes {most} tokens at most: {removed}")
    tokenized = tokenize(pipe.tokenizer, prompts, tokens).to(pipe._execution_device)
    if scale is None:
        return encode(pipe.text_encoder, tokenized, embeddings)
    scale_lora_layers(pipe.text_encoder, scale)
    try:
        return encode(pipe.text_encoder, tokenized, embeddings)
    finally:
        unscale_lora_layers(pipe.text_encoder, scale)


def pooled(states: torch.Tensor, prompts: TokenizedPrompts, position: str = "end_of_text") -> torch.Tensor:
    """Return the states (B, width) at the end of text, as CLIP pools, or at the last token of the placeholder.

    The published code adds its placeholder to the vocabulary, above the end-of-text id, and pools at the largest id: at the
    placeholder. Prompts without one are pooled at the end of text.
    """
    at = prompts.end
    if position == "placeholder":
        positions = torch.arange(prompts.placeholder.shape[1], device=at.device) * prompts.placeholder
        at = torch.where(prompts.placeholder.any(1), positions.amax(1), at)
    return states[torch.arange(len(states), device=at.device), at]
