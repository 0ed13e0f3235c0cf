"""GRPO of thoughts, with the answer integrated out: a thought earns the score of all answers that may follow it.

TRL samples G completions to each question. Of each counts the thought, up to the token that ends the tag <answer>. What is
sampled after that is one of many, so it is not looked at: all answers are scored, in one forward pass of a row that holds
the prompt once, the G thoughts, and after each the tree of all answers. With V, what they are worth after a thought
(objective.py),

    loss = - mean of [(R - mean R of the question's other thoughts) · ln π(thought) + V],        R = V, no gradient

whose gradient is that of -E[V]: of the answers exactly, of the thought by REINFORCE with a leave-one-out baseline (Kool et
al. 2019). So V may depend on no token that ln π(thought) does not count: where the answers part does not depend on what was
sampled after the thought. Two thoughts hardly ever earn the same, so that hardly any group teaches nothing. A thought after
which no answer can come earns the worst V. With `grpo.beta`, V has it times KL(q ‖ q_start) of the answers less, and R
besides it times ln π(thought) / π_start(thought). Both together are the divergence of what is said.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from trl.trainer.utils import use_adapter

from config.errors import UserError
from understanding import kinds
from understanding.answer_tree import AnswerTree, Growth, common_prefix_length, log_probabilities, with_trees
from understanding.answers import extract_answer
from understanding.chat import Chat
from understanding.objective import Objective, Tally, divergence
from understanding.packing import PER_TOKEN, take_rows
from understanding.question import Question
from understanding.shared_prefix import SharedPrefixGRPOTrainer
from understanding.trl_checkpoints import WholeCheckpoints

OPENED, CLOSED = "<answer>", "</answer>"
CONTEXT = len("</think>")  # characters before an answer's tag that tell how it is tokenised
NOT_INPUTS = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "questions", "advantages"}
NOT_INPUTS |= {"num_items_in_batch", "num_images"}


@dataclass(frozen=True)
class Thought:
    """A sampled completion, up to the token that ends the tag of its answer.

    tokens: as they were sampled. before: the same up to the tag, and what all allowed answers are tokenised to begin with,
    the tag included. answers: the tokens of each, in their order, that may come after `before`; none where the completion
    opens no answer in the right format, whose tokens are then all of it.
    """

    tokens: list[int]
    before: list[int]
    answers: list[list[int]]


@dataclass(frozen=True)
class Found:
    """What a model says of a question's thoughts.

    said: ln π of each thought, (G,), at the temperature of sampling. answers: the log-probabilities of the allowed answers
    after each, (A,), at temperature 1; none where it has none.
    """

    said: Tensor
    answers: list[Tensor]


class ThoughtReader:
    """Tells the thoughts of completions. chat: of the model that has sampled them."""

    def __init__(self, chat: Chat):
        self.chat, self._special = chat, set(chat.processor.tokenizer.all_special_ids)
        self._answers = lru_cache(maxsize=4096)(self._answers_after)

    def __call__(self, completion: Sequence[int], allowed: tuple[str, ...]) -> Thought:
        """Return the thought of a completion, given the answers that its question allows."""
        completion = list(completion)
        whole = self._text(completion)
        text, opened, _ = whole.partition(OPENED)
        unreadable = Thought(completion, completion, [])
        if not opened or extract_answer(f"{text}{opened}any{CLOSED}", reasoning=True) is None:
            return unreadable
        # The last token from which the first tag is whole; it may hold the end of what is before the tag, too.
        tags, places = whole.count(OPENED), range(len(completion))
        first = next(place for place in reversed(places) if self._text(completion[place:]).count(OPENED) == tags)
        last = next(place for place in places[first:] if OPENED in self._text(completion[first : place + 1]))
        if self._special & set(completion[:first]):
            return unreadable
        opening = self._text(completion[first:]).partition(OPENED)[0] + OPENED
        answers = self._answers(self._text(completion[:first])[-CONTEXT:], opening, allowed)
        alike = common_prefix_length(answers)
        before = completion[:first] + answers[0][:alike]
        return Thought(completion[: last + 1], before, [answer[alike:] for answer in answers])

    def _text(self, tokens: list[int]) -> str:
        return self.chat.processor.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)

    def _answers_after(self, before: str, opening: str, allowed: tuple[str, ...]) -> list[list[int]]:
        return [self.chat.emitted(before, opening + answer + CLOSED + self.chat.closing) for answer in allowed]


def thought_tree(thoughts: Sequence[Thought]) -> AnswerTree:
    """Return the tree of a question's thoughts and the answers after each; paths: of each a thought, then its answers."""
    growth = Growth()
    for thought in thoughts:
        growth.add(thought.tokens)
        path = growth.grow(thought.before)
        for answer in thought.answers:
            growth.add(answer, path)
    return growth.tree()


class ThoughtTrainer(WholeCheckpoints, SharedPrefixGRPOTrainer):
    """`SharedPrefixGRPOTrainer` whose loss is that of this file; its reward functions are logged, and teach nothing.

    Raises UserError where answers cannot share a row.
    """

    def __init__(self, *args, objective: Objective, questions: list[Question], chat: Chat, **kwargs):
        """objective, questions: of the training, the questions as its data set numbers them."""
        super().__init__(*args, **kwargs)
        self.objective, self.questions, self.read, self.seen = objective, questions, ThoughtReader(chat), Tally()
        # TRL would run its reference model over each completion, and not over the answers that were not sampled.
        self.divergence_weight, self.beta = self.beta, 0.0

    def _stop_sharing(self, obstacle: str) -> None:
        raise UserError(f"grpo.answers: exact needs rows that answers share, and {obstacle}; set grpo.answers=sampled")

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict:
        batch = super()._generate_and_score_completions(inputs)
        return batch | {"questions": torch.tensor([row["question"] for row in inputs])}

    def _compute_loss(self, model: nn.Module, inputs: dict) -> Tensor:
        group, numbers = self.num_generations, inputs["questions"].tolist()
        asked = [self.questions[number] for number in numbers[::group]]
        rows = zip(inputs["completion_ids"].tolist(), inputs["completion_mask"].tolist(), numbers, strict=True)
        thoughts = [
            self.read([token for token, kept in zip(ids, mask, strict=True) if kept], self._allowed(self.questions[number]))
            for ids, mask, number in rows
        ]
        groups = [thoughts[first : first + group] for first in range(0, len(thoughts), group)]
        trees = list(map(thought_tree, groups))
        called = with_trees(self.model, self._prompts(inputs), trees)
        found = self._found(model(**called).logits, groups, trees)
        starts = self._found_at_start(called, groups, trees) if self.divergence_weight else [None] * len(asked)
        for each in zip(asked, groups, found, strict=True):
            self._note(*each)
        losses = [self._loss(*each) for each in zip(asked, found, starts, strict=True)]
        return torch.stack(losses).mean() / self.current_gradient_accumulation_steps

    def _allowed(self, question: Question) -> tuple[str, ...]:
        return kinds.kind_named(question.kind).allowed(question, self.objective.taxonomy, self.objective.answers)

    def _prompts(self, inputs: dict) -> dict[str, Tensor]:
        """Return the model's inputs for the prompts of a batch, each once."""
        group, prompt = self.num_generations, inputs["prompt_ids"].size(1)
        fields = {name: each for name, each in inputs.items() if name not in NOT_INPUTS and each is not None}
        counts = inputs.get("num_images") or [0] * len(inputs["prompt_ids"])
        fields = take_rows(fields, counts, range(0, len(counts), group))
        fields.pop("num_tiles", None)
        fields |= {name: fields[name][:, :prompt] for name in PER_TOKEN & fields.keys()}
        return fields | {"input_ids": inputs["prompt_ids"][::group], "attention_mask": inputs["prompt_mask"][::group]}

    def _found(self, logits: Tensor, groups: list[list[Thought]], trees: list[AnswerTree]) -> list[Found]:
        """Return what the logits of each group's tree tell."""
        answers = log_probabilities(logits, trees)
        sampled = answers if self.temperature == 1 else log_probabilities(logits / self.temperature, trees)
        found = []
        for own, tempered, thoughts in zip(answers, sampled, groups, strict=True):
            sizes = [1 + len(thought.answers) for thought in thoughts]
            said = torch.stack([part[0] for part in tempered.split(sizes)])
            found.append(Found(said, [part[1:] for part in own.split(sizes)]))
        return found

    @torch.no_grad()
    def _found_at_start(self, called: dict, groups: list[list[Thought]], trees: list[AnswerTree]) -> list[Found]:
        """Return the same by the model that the step started from."""
        if self.ref_model is not None:
            return self._found(self.ref_model(**called).logits, groups, trees)
        bare = self.accelerator.unwrap_model(self.model)
        with use_adapter(bare, adapter_name="ref" if "ref" in bare.peft_config else None):
            return self._found(self.model(**called).logits, groups, trees)

    def _loss(self, question: Question, now: Found, start: Found | None) -> Tensor:
        """Return the loss of a question's group of thoughts."""
        worst = now.said.new_tensor(self.objective.worst(question))
        values = torch.stack([self.objective.value(question, own) if len(own) else worst for own in now.answers])
        rewards = values.detach()
        if start:
            pairs = zip(now.answers, start.answers, strict=True)
            apart = torch.stack([divergence(*pair) if len(pair[0]) else torch.zeros_like(worst) for pair in pairs])
            further = (now.said - start.said).detach()
            values = values - self.divergence_weight * apart
            rewards = values.detach() - self.divergence_weight * further
            self.seen.add("kl", further + apart)
        others = (rewards.sum() - rewards) / (len(rewards) - 1)
        return -((rewards - others) * now.said + values).mean()

    @torch.no_grad()
    def _note(self, question: Question, thoughts: list[Thought], found: Found) -> None:
        """Keep for the log what a question's group of thoughts is like."""
        said, tokens = found.said, [len(thought.tokens) for thought in thoughts]
        self.seen.add("entropy", [-said.sum() / sum(tokens)])
        self.seen.add("alike_thoughts", said.new_tensor([len({tuple(thought.tokens) for thought in thoughts}) == 1]))
        self.seen.add("unreadable_thoughts", said.new_tensor([not len(own) for own in found.answers]))
        readable = [own for own in found.answers if len(own)]
        if readable:
            scores = torch.stack([self.objective.score(question, own) for own in readable])
            mean = torch.stack([own.log_softmax(0) for own in readable]).logsumexp(0) - math.log(len(readable))
            self.seen.add(f"score/{question.kind}", scores)
            self.seen.add("allowed", [own.exp().sum() for own in readable])
            if self.objective.rewards.scoring != "reward":  # which is linear, and so pays alike for what thoughts differ in
                self.seen.add(f"variance/{question.kind}", [self.objective.score(question, mean) - scores.mean()])

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """As TRL's, with the means of what `_note` and the divergence keep, and without what would be of rewards in all."""
        names = [f"{figure}/{kind}" for figure in ("score", "variance") for kind in self.objective.weights]
        names += ["allowed", "alike_thoughts", "unreadable_thoughts", "entropy", "kl"]
        for name in ("reward", "reward_std", "frac_reward_zero_std"):
            self._metrics["train"].pop(name, None)
        super().log(logs | self.seen.means(names, self.accelerator), *args, **kwargs)
