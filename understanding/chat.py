"""How a model's chat template writes a question and its answer: as text, as tokens, and the token that ends an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from config.errors import UserError, first_line
from understanding.answer_tree import common_prefix_length
from understanding.answers import TAGS
from understanding.model import conversation

ASKED, MARK = "What is this?", "Bezoar7"  # a question, and an answer that stands nowhere else in what a template writes


@dataclass(frozen=True)
class Chat:
    """A processor, and what its template writes around an answer.

    lead: between the prompt and the answer, such as a space. closing: after the answer, up to the token that ends it, which
    is included. end: that token. What a template writes after it, such as a line break, is no part of an answer.
    """

    processor: ProcessorMixin
    lead: str
    closing: str
    end: int

    def prompt(self, messages: list[dict]) -> str:
        """Return the text that asks for an answer to a conversation."""
        return self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def shows_images_first(self) -> bool:
        """Return whether the template writes an image before the question about it: questions then begin alike."""
        (asked,) = conversation(ASKED)
        try:
            alone = self.prompt([asked | {"content": asked["content"][1:]}])
        except (TemplateError, TypeError, KeyError):  # a template that cannot do without an image
            return False
        return self.prompt([asked]).endswith(alone[alone.rfind(ASKED) :])

    def turn(self, completion: str) -> str:
        """Return the text that a model has to write after the prompt to answer `completion`."""
        return self.lead + completion + self.closing

    def inputs(self, texts: Sequence[str], images: Sequence[Image.Image]) -> BatchFeature:
        """Return the model's inputs for texts with one image each, padded on the left."""
        start = self.processor.tokenizer.bos_token
        written = {"add_special_tokens": False} if start and texts[0].startswith(start) else {}  # as transformers and TRL do
        options = {"padding": True, "padding_side": "left", "return_tensors": "pt"}
        return self.processor(images=[[image] for image in images], text=list(texts), **options, **written)

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text, without any that a tokenizer adds."""
        return self.processor.tokenizer(text, add_special_tokens=False).input_ids

    def end_of(self, prompt: str) -> str:
        """Return a prompt from its last special token on: no text before it changes the tokens of what follows."""
        special = {token.content for token in self.processor.tokenizer.added_tokens_decoder.values()}
        return prompt[max(0, *(prompt.rfind(each) for each in special)) :]

    def emitted(self, prompt: str, turn: str) -> list[int]:
        """Return the tokens that a model has to emit after those of the prompt to write `turn`."""
        before, whole = self.tokens(prompt), self.tokens(prompt + turn)
        return whole[len(before) :] if whole[: len(before)] == before else self.tokens(turn)

    def choices(self, prompt: str, start: str, ends: Sequence[str]) -> "Choices":
        """Return the answers that begin with the text `start` and go on with one of the texts `ends`, after a prompt."""
        before, start = self.tokens(prompt), self.lead + start
        turns = [start + end + self.closing for end in ends]
        rows = list(map(self.tokens, (prompt + turn for turn in turns)))
        joined = [owner for owner, row in enumerate(rows) if row[: len(before)] != before]
        rows += [before + self.tokens(turns[owner]) for owner in joined]
        return Choices(start, self.tokens(prompt + start), rows, [*range(len(ends)), *joined])

    def ends(self, model: PreTrainedModel) -> list[int]:
        """Return the tokens that end an answer: the template's, and those that the model and its tokenizer name besides."""
        named = model.generation_config.eos_token_id
        named = [named] if isinstance(named, int) else named or []
        others = [self.processor.tokenizer.eos_token_id, *named]
        return list(dict.fromkeys([self.end, *(each for each in others if each is not None)]))


@dataclass(frozen=True)
class Choices:
    """All answers to a question, as tokens. `start` is tokenised with each: a token may reach from it into a name.

    The prompt is here its end, from the last special token on (Chat.end_of): nothing before it changes these tokens.
    start: the text that all begin with. before: the tokens of the prompt and `start` by themselves. rows: of the prompt and
    an answer. owners: the number of each row's answer. An answer has two rows where a token reaches from the prompt into it:
    one is tokenised whole, and one in two parts, as it is when it is sampled after the prompt.
    """

    start: str
    before: list[int]
    rows: list[list[int]]
    owners: list[int]

    @cached_property
    def reach(self) -> int:
        """How many of the last tokens of `before` are others in some row: the rows part before these."""
        return len(self.before) - common_prefix_length([self.before, *self.rows])

    def tails(self, cut: int) -> list[list[int]]:
        """Return the rows' tokens after those of `before` but its last `cut`."""
        return [row[len(self.before) - cut :] for row in self.rows]

    def of_answers(self, log_probabilities: Tensor) -> Tensor:
        """Return the log-probability of every answer from those of the rows, and perhaps more, (n,)."""
        own = log_probabilities[: len(self.owners)]
        if len(set(self.owners)) == len(self.owners):
            return own
        owners = torch.tensor(self.owners, device=own.device)
        return torch.stack([own[owners == owner].logsumexp(0) for owner in dict.fromkeys(self.owners)])


def read_chat(processor: ProcessorMixin, setting: str = "understanding.model") -> Chat:
    """Return how the processor's template writes an answer; what ends it becomes a special token, so no text keeps it.

    Raises UserError, naming `setting`, where the template cannot ask about an image, ends an answer with no token of its own
    or thinks by itself.
    """
    if not getattr(processor, "chat_template", None):
        raise UserError(f"{setting}: its processor has no chat template; name a model that was made for chats")
    asked = conversation(ASKED)
    answered = [*asked, {"role": "assistant", "content": [{"type": "text", "text": MARK}]}]
    try:
        prompt = processor.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        before, found, after = processor.apply_chat_template(answered, tokenize=False).rpartition(MARK)
    except (TemplateError, TypeError, KeyError) as error:
        raise UserError(
            f"{setting}: its chat template cannot write a question about an image and its answer ({first_line(error)})"
        ) from None
    tokenizer = processor.tokenizer
    own = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    end = next((each for each in tokenizer(after, add_special_tokens=False).input_ids if each in own), None)
    if not found or end is None:
        raise UserError(
            f"{setting}: its chat template writes no token that ends an answer, only {after!r}; name a model whose template"
            " does, or let the template write one"
        )
    lead = before[len(prompt) :] if before.startswith(prompt) else ""
    if tags := [tag for tag in TAGS if tag in prompt.rpartition(ASKED)[2] + lead]:
        raise UserError(
            f"{setting}: its chat template writes {' and '.join(tags)} itself, so that no answer keeps the format; name a"
            " model that does not think by itself, or take the tags out of its template"
        )
    name = tokenizer.convert_ids_to_tokens(end)
    if end not in tokenizer.all_special_ids:
        tokenizer.add_special_tokens({"extra_special_tokens": [name]}, replace_extra_special_tokens=False)
    return Chat(processor, lead, after[: after.index(name) + len(name)], end)


def check_length(chat: Chat, prompt: str, completions: Sequence[str], tokens: int) -> None:
    """Raise UserError where one of the completions after a prompt takes more than so many tokens: answers.tokens."""
    lengths = {text: len(chat.emitted(chat.end_of(prompt), chat.lead + text)) for text in completions}
    longest = max(lengths, key=lengths.__getitem__)
    if lengths[longest] > tokens:
        raise UserError(f"answers.tokens: {tokens} cut off {longest}, which takes {lengths[longest]}; set that many or more")


def continued(prompts: Tensor, mask: Tensor, answers: Sequence[list[int]]) -> tuple[Tensor, Tensor, int]:
    """Return ids and mask (n, P + R) of prompts (n, P), each with its answer after it, and R, the most tokens of one."""
    rows = [torch.tensor(answer, dtype=prompts.dtype, device=prompts.device) for answer in answers]
    ids, kept = (pad_sequence(each, batch_first=True) for each in (rows, [torch.ones_like(row) for row in rows]))
    return torch.cat([prompts, ids], 1), torch.cat([mask, kept], 1), ids.size(1)
