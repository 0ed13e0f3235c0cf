"""Training on the whole distribution of answers: no answer is sampled, each that a question allows is scored at once.

The objective of a question of kind k, p(a) being the probability of the allowed answer a after the prompt, is

    weight_k · S + rewards.format · Σ p(a) - grpo.beta · KL(q ‖ q_start),        q = p / Σ p

    quadratic, log   S is the kind's proper score of q (proper_scores.py)
    reward           S = Σ p(a) reward(a) + (1 - Σ p(a)) reward(no answer): what sampled GRPO climbs, in expectation

One forward pass of a row that shares image and prompt (answer_tree.py) gives all of it, so there are no groups, no
advantages and no noise of sampling.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from peft import get_peft_model
from torch import Tensor, nn
from transformers import BatchFeature, Trainer, TrainingArguments, set_seed
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from config.errors import UserError
from config.settings import Settings
from config.taxonomy import Taxonomy
from config.understanding_settings import Answers
from runtime.processes import free_memory
from runtime.run_folder import log
from understanding import kinds
from understanding.answer_tree import AnswerTree, answer_tree, log_probabilities, with_trees
from understanding.answering import answer_distributions
from understanding.asking import AGREE, load_asker
from understanding.callbacks import EvaluationCallback
from understanding.chat import Chat, read_chat
from understanding.kept_vision import KeptVision
from understanding.model import lora_config
from understanding.objective import Objective, Tally, divergence
from understanding.packing import LEAK, PER_TOKEN, check_sharing
from understanding.question import Question
from understanding.stages import TrainingData
from understanding.trainers import (
    keep_precise,
    load_trainable,
    log_start,
    new_adapter,
    on_one_gpu,
    question_data,
    step_arguments,
)
from understanding.trl_checkpoints import WholeCheckpoints, newest_checkpoint, run_updates


class Batches:
    """Makes the batch of rows of question_data: the model's inputs, the questions' numbers and their trees of answers."""

    def __init__(self, chat: Chat, questions: list[Question], taxonomy: Taxonomy, answers: Answers):
        self.chat, self.questions, self.taxonomy, self.answers = chat, questions, taxonomy, answers
        self._tree = lru_cache(maxsize=4096)(self._tree_after)

    def __call__(self, rows: list[dict]) -> dict:
        prompts = [self.chat.prompt(row["prompt"]) for row in rows]
        inputs: BatchFeature = self.chat.inputs(prompts, [row["image"] for row in rows])
        asked = [self.questions[row["question"]] for row in rows]
        trees = [self.tree(prompt, question) for prompt, question in zip(prompts, asked, strict=True)]
        return dict(inputs) | {"questions": [row["question"] for row in rows], "trees": trees}

    def tree(self, prompt: str, question: Question) -> AnswerTree:
        """Return the tree of all answers that a question allows, as they are emitted after its prompt."""
        allowed = kinds.kind_named(question.kind).allowed(question, self.taxonomy, self.answers)
        return self._tree(self.chat.end_of(prompt), allowed)

    def _tree_after(self, end: str, allowed: tuple[str, ...]) -> AnswerTree:
        return answer_tree([self.chat.emitted(end, self.chat.turn(answer)) for answer in allowed])


class ExactTrainer(WholeCheckpoints, Trainer):
    """transformers' `Trainer` of an Objective.

    Raises UserError in the first update where the answers to a question cannot share its prompt: where one changes the
    probability of another, or of itself in a row of its own.
    """

    def __init__(
        self,
        *args,
        objective: Objective,
        questions: list[Question],
        order: list[int] | None = None,
        beta: float = 0.0,
        start: Sequence[Tensor | None] = (),
        keep_vision: bool = False,
        **kwargs,
    ):
        """objective, questions: of the training. order: the questions' numbers in the order of training; None: at random.

        beta: weight of the KL divergence from the model at its start. start: the log-probabilities of each question's
        answers by that model, where beta is not 0. keep_vision: what the vision tower makes of an image, which is frozen.
        """
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False  # so that the loss is a mean over the batches of an update
        self.objective, self.questions, self.order, self.beta, self.start = objective, questions, order, beta, start
        self._compared, self.seen = False, Tally()
        self.vision = KeptVision(self.model) if keep_vision else None

    def compute_loss(self, model: nn.Module, inputs: dict, return_outputs: bool = False, num_items_in_batch=None) -> Tensor:
        numbers, trees = inputs.pop("questions"), inputs.pop("trees")
        if not self._compared:
            self._compared = True
            self.model.eval()  # dropout differs by itself
            self._check_sharing(model)
            self._check_vision(model)
            self.model.train()
        asked, called = [self.questions[number] for number in numbers], with_trees(self.model, inputs, trees)
        if self.vision:
            called = self._with_kept_vision(called, [question.image_id for question in asked])
        found = log_probabilities(model(**called).logits, trees)
        values = [self.objective.value(question, log_p) for question, log_p in zip(asked, found, strict=True)]
        self.seen.add("allowed", (log_p.exp().sum() for log_p in found))
        for question, log_p in zip(asked, found, strict=True):
            self.seen.add(f"score/{question.kind}", [self.objective.score(question, log_p.detach())])
        loss = -torch.stack(values).mean()
        if self.beta:
            apart = [divergence(log_p, self.start[number]) for number, log_p in zip(numbers, found, strict=True)]
            self.seen.add("kl", apart)
            loss = loss + self.beta * torch.stack(apart).mean()
        return loss

    def _get_train_sampler(self, *args) -> Iterable[int]:
        return self.order or super()._get_train_sampler(*args)

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """As Trainer's, with the mean score of each kind, and of the probability of all answers that are allowed."""
        names = [*(f"score/{name}" for name in self.objective.weights), "allowed", "kl"]
        super().log(logs | self.seen.means(names, self.accelerator), *args, **kwargs)

    @torch.no_grad()
    def _check_sharing(self, model: nn.Module) -> None:
        """Raise UserError where an answer in the tree of all has another probability than in a row of its own.

        The first question of each kind is tried: what an answer sees of others may not move one that is sure anyway.
        """
        check_sharing(self.model)
        first_of = {question.kind: number for number, question in reversed([*enumerate(self.questions)])}
        for number in sorted(first_of.values()):
            if wrong := self._fault_of_sharing(model, number):
                raise UserError(
                    f"grpo.answers: exact needs rows that answers share, and in a {type(self.model).__name__} {wrong};"
                    " set grpo.answers=sampled"
                )

    def _fault_of_sharing(self, model: nn.Module, number: int) -> str:
        """Return how the first or the last answer to a question is another one in the tree of all; "" where it is not."""
        one = self._prepare_inputs(self.data_collator([self.train_dataset[number]]))
        one.pop("questions")
        (tree,) = one.pop("trees")
        shared, apart, moved = log_probabilities(model(**with_trees(self.model, one, [tree])).logits, [tree])[0], [], []
        for answer in (0, -1):
            edges = [tree.edges[edge] for edge in tree.paths[answer]]
            apart.append(self._apart(model, one, [token for _, token in edges]) - shared[answer])
            # Rounding in half precision is larger than what a neighbour may add. What a mask hides adds nothing in any.
            nodes, called = {node for node, _ in edges}, with_trees(self.model, one, [tree])
            others = [node - 1 - len(tree.tokens) for node in range(1, len(tree.tokens) + 1) if node not in nodes]
            called["input_ids"][0, others] = one["input_ids"][0, -1]
            moved.append(log_probabilities(model(**called).logits, [tree])[0][answer] - shared[answer])
        exact = self.model.dtype == torch.float32 and self.accelerator.mixed_precision == "no"
        worst, moved = (torch.stack(each).abs().max().item() for each in (apart, moved))
        if not worst < AGREE[not exact]:
            return f"log-probabilities differ from those of rows apart by {worst:.2g}"
        return "" if moved < LEAK else f"an answer changes another's log-probability by {moved:.2g}"

    @torch.no_grad()
    def _check_vision(self, model: nn.Module) -> None:
        """Let the vision tower see every image anew where what is kept of two images is not what it makes of them."""
        if not self.vision:
            return
        two = self._prepare_inputs(self.data_collator([self.train_dataset[number] for number in (0, 1)]))
        images, trees = [self.questions[number].image_id for number in two.pop("questions")], two.pop("trees")
        called = with_trees(self.model, two, trees)
        plain = model(**called).logits
        try:
            difference = (model(**self._with_kept_vision(called, images)).logits - plain).abs().max().item()
            problem = f"logits differ by {difference:.2g}" if difference > 1e-3 * plain.abs().max().item() else ""
        except Exception as error:  # whatever a foreign model makes of its images
            problem = f"{type(error).__name__}: {error}"
        if problem:
            self.vision = None
            log.warning(f"the vision tower sees an image once for each question about it, not once for all ({problem})")

    def _with_kept_vision(self, called: dict, images: list[str]) -> dict:
        """Return the model's inputs as KeptVision does, the tower run in the precision in which the model runs it."""
        with self.accelerator.autocast():
            return self.vision(called, images)

    def _apart(self, model: nn.Module, one: dict, answer: list[int]) -> Tensor:
        """Return the log-probability of an answer in a row of its own, as the model reads it by itself."""
        added = one["input_ids"].new_tensor([answer[:-1]])
        row = {"input_ids": torch.cat([one["input_ids"], added], 1)}
        row["attention_mask"] = torch.cat([one["attention_mask"], torch.ones_like(added)], 1)
        row |= {field: torch.cat([one[field], torch.zeros_like(added)], 1) for field in PER_TOKEN & one.keys()}
        logits = model(**one | row, logits_to_keep=len(answer)).logits[0].float().log_softmax(-1)
        return logits.gather(1, logits.new_tensor(answer, dtype=torch.long)[:, None]).sum()


def train(
    settings: Settings,
    name: str,
    start: str | Path,
    questions: list[Question],
    data: TrainingData,
    steps: int,
    accumulation: int,
    folder: Path,
) -> None:
    """Train the model `start`, by name or folder, for `steps` updates, from the newest checkpoint in `folder`.

    The last checkpoint, checkpoint-<steps>, must not be there: from it Trainer would make one update more.
    name: of the step, for the log. accumulation: forward passes of a process for each update.
    """
    grpo = settings.grpo
    distributions = start_distributions(settings, start, questions, data, folder) if grpo.beta else []
    # The arguments come before the model that is trained: ZeRO-3 shares it out as it loads.
    arguments = TrainingArguments(
        per_device_train_batch_size=grpo.batch_size,
        gradient_accumulation_steps=accumulation,
        **step_arguments(settings, name, steps, folder),
    )
    arguments = on_one_gpu(arguments)
    model, processor = load_trainable(settings.understanding, start)
    if new_adapter(settings.understanding, model):
        set_seed(settings.seed)
        model = get_peft_model(model, lora_config(settings.understanding))
    newest = newest_checkpoint(arguments)
    watching = EvaluationCallback(folder, settings, data.val_questions, data.images, processor)
    taxonomy, weights = settings.data.taxonomy, kinds.weights(settings.questions, settings.rewards)
    lengths = [
        (len(kinds.kind_named(question.kind).allowed(question, taxonomy, settings.answers)), len(question.prompt))
        for question in questions
    ]
    trainer = ExactTrainer(
        model,
        arguments,
        data_collator=Batches(read_chat(processor), questions, taxonomy, settings.answers),
        train_dataset=question_data(questions, data.images, settings.understanding.max_pixels, processor=processor),
        processing_class=processor,
        callbacks=[watching],
        objective=Objective(taxonomy, settings.answers, settings.rewards, weights),
        questions=questions,
        order=order_of(lengths, steps, grpo.questions_per_step, settings.seed),
        beta=grpo.beta,
        start=distributions,
        keep_vision=not (settings.understanding.train_vision or is_deepspeed_zero3_enabled()),
    )
    watching.trainer = trainer
    keep_precise(trainer, settings.understanding)
    log_start(trainer, name, newest)
    run_updates(trainer, newest)


def order_of(lengths: Sequence, updates: int, at_once: int, seed: int) -> list[int]:
    """Return the numbers of the questions of all updates, one after the other, `at_once` in each.

    Each pass over the questions takes them in a random order of its own. Within an update they are in the order of their
    lengths. So its batches hold rows of like lengths, and little padding.
    """
    drawn: list[int] = []
    while len(drawn) < updates * at_once:
        drawn += torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed)).tolist()
        seed += 1
    chosen = [drawn[first : first + at_once] for first in range(0, updates * at_once, at_once)]
    return [number for update in chosen for number in sorted(update, key=lengths.__getitem__)]


def start_distributions(
    settings: Settings, start: str | Path, questions: list[Question], data: TrainingData, folder: Path
) -> list[Tensor | None]:
    """Return what the model `start` says before it is trained: log-probabilities of each question's answers."""
    asker = load_asker(settings.understanding, settings.answers, settings.data.taxonomy, start, "understanding.model")
    asked = answer_distributions(asker, questions, data.images, folder, settings.grpo.evaluation_batch_size)
    del asker
    free_memory()
    return [None if each is None else torch.tensor(each).clamp(min=1e-30).log() for each in asked]
