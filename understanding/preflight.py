"""What is checked, and said, before anything is computed: what cannot be, what a run takes, what an update amounts to.

`check_start` comes before the data set is read, `check_and_announce` after. Each tells all that is wrong at once.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from pathlib import Path

from trl import GRPOTrainer

from config.errors import UserError, first_line, tell_together
from config.settings import Settings
from config.understanding_settings import Grpo, Understanding
from runtime.built_folder import check_ours
from runtime.checking import check_room, check_writable, in_words
from runtime.hub import check_repository, resolve_model
from runtime.recipe import RECIPE, read_recipe
from runtime.run_folder import is_first_process, log
from understanding.answers import in_format
from understanding.chat import check_length, read_chat
from understanding.grpo import LABELS, is_sampling, plan
from understanding.kinds import kind_named, weights
from understanding.mining import check_count
from understanding.model import conversation
from understanding.model_check import CheckedModel, check_extras, check_model, check_trainable
from understanding.model_folder import WHAT
from understanding.packing import check_sharing
from understanding.processor import load_processor
from understanding.question import Question
from understanding.questions import needed_confusability, question_counts
from understanding.shared_prefix import UNSAID
from understanding.showing import substitute
from understanding.trainers import start_training_process
from understanding.warmup import right_answer

ADAM = 8  # bytes that AdamW keeps of a trained weight
WHOLE_RATE = 1e-6  # of GRPO on all weights: TRL's default, and that of Shao et al. 2024
STAGES = ("warm_up", "step_one", "step_two")


@dataclass(frozen=True)
class Needs:
    """What a training takes, in bytes: memory for weights, gradients and the optimizer's state, and disk."""

    memory: int
    disk: int

    def in_words(self) -> dict[str, str]:
        """Return both as people read them."""
        memory = f"{in_words(self.memory)} for weights, gradients and AdamW; activations come on top"
        return {"memory of each process": memory, "disk": in_words(self.disk)}


def check_start(settings: Settings) -> Needs:
    """Return what the run takes; refuse, before data are read, all that the settings and the model's files tell against."""
    warmup, grpo, found = settings.warmup, settings.grpo, []

    def anything_is_trained() -> None:
        if not (warmup.steps or grpo.steps_one != 0 or grpo.steps_two != 0):
            raise UserError("nothing was trained: warmup.steps, grpo.steps_one and grpo.steps_two are all 0")

    def anything_is_earned() -> None:
        earned = weights(settings.questions, settings.rewards)
        if grpo.ways and not any(earned.values()):
            raise UserError(f"rewards: the weight of every kind that is asked is 0; set one of {', '.join(earned)} above 0")

    def model_fits() -> None:
        name = settings.understanding.model
        checked = check_model(settings.understanding, name, "understanding.model", not settings.check)
        if "exact" in grpo.ways:
            check_sharing(checked.skeleton)
        found.append(needs(settings, checked, check_trainable(settings.understanding, checked)))

    def counts_fit() -> None:
        plan(grpo, sum(question_counts(settings.data.taxonomy, settings.questions).values()), grpo.steps_one)

    def evaluations_fit() -> None:
        if grpo.evaluate_every:
            few = settings.questions.model_copy(update={"count": grpo.evaluated_questions})
            question_counts(settings.data.taxonomy, few, "grpo.evaluated_questions")

    tell_together(
        anything_is_trained,
        anything_is_earned,
        counts_fit,
        evaluations_fit,
        lambda: grpo.steps_two == 0 or check_count(settings.mining, settings.data.taxonomy),
        partial(needed_confusability, settings.questions, settings.rewards, settings.data.taxonomy, settings.run),
        partial(check_extras, settings.understanding, settings.machine, trains=True),
        model_fits,
        partial(_check_repository, settings.understanding.push_to_hub, settings.check),
        partial(_check_folders, settings.run),
        partial(check_writable, settings.data.cache, "data.cache"),
    )
    check_room(settings.run / "understanding", found[0].disk - _taken(settings.run / "understanding"), "training")
    return found[0]


def needs(settings: Settings, model: CheckedModel, trained: int) -> Needs:
    """Return what a training of a model takes. trained: how many weights are trained, an adapter's or its own."""
    tuning, grpo = settings.tuning, settings.grpo
    if settings.understanding.lora_rank:
        memory, saved = model.bytes + trained * (4 + 4 + ADAM), trained * 4
    else:
        samples = settings.answers.reasoning or "sampled" in grpo.ways
        copies = 2 if grpo.beta and samples else 1  # the reference model is one
        memory, saved = copies * model.weights * 4 + trained * (4 + ADAM), model.weights * 4
    disk = saved  # the result
    for steps in (settings.warmup.steps, grpo.steps_one, grpo.steps_two):
        if steps != 0:
            whole = math.inf if steps is None else math.ceil(steps / tuning.checkpoint_every)
            kept = min(tuning.checkpoints_kept, whole) + 1  # one more while it is written
            disk += int(kept) * (saved + trained * ADAM) + saved
    return Needs(memory, disk)


def check_and_announce(settings: Settings, questions: list[Question], images: dict[str, Path]) -> dict[str, str]:
    """Start this process, refuse what cannot be trained, and log what a step amounts to. images: the file of every id.

    Returns how much work the run is, in words.
    """
    state, grpo = start_training_process(), settings.grpo
    shared = plan(grpo, len(questions), grpo.steps_one)
    if shared.processes != state.num_processes:
        raise UserError(f"{shared.processes} processes were launched, but they found {state.num_processes}")
    prompt, image = prompt_tokens(settings, questions, images)
    share = f"{shared.accumulation} times {grpo.batch_size}"
    share += f" on each of {shared.processes} processes" if shared.processes > 1 else ""
    log.info(
        f"{len(questions):,} questions. An update has {grpo.questions_per_step} of them, {share} ({state.device.type})."
        f" Step I has {shared.steps:,} updates. A pass over the questions has {len(questions) // grpo.questions_per_step:,}"
    )
    two = plan(grpo, len(questions), grpo.steps_two).steps  # as many questions about hard images
    updates = {"step_one": shared.steps, "step_two": two}
    for name, label in LABELS.items():
        if updates[name]:
            log.info(f"{label}: {way(settings, name)}")
            warn_of_rate(settings.understanding, grpo, name)
    if settings.rewards.scoring == "reward" and "exact" in grpo.ways:
        log.warning(
            "rewards.scoring: reward is no proper score, and exact answers trained by it may all become the same one"
        )
    each = grpo.questions_per_step * grpo.group
    sampling = [name for name, count in updates.items() if count and is_sampling(settings.answers, grpo, name)]
    sampled = sum(updates[name] * each for name in sampling)
    most = f"; an answer: up to {settings.answers.tokens}" if sampled else ""
    log.info(f"a prompt: {prompt} tokens, {image} of them the image{most}")
    said = {"answers" if grpo.answers_of(name) == "sampled" else "thoughts" for name in sampling}
    what = f"sampled {' and '.join(sorted(said, reverse=True))}"
    takes = {"updates": f"{settings.warmup.steps:,} of the warm-up, {shared.steps:,} of Step I, {two:,} of Step II"}
    return takes | ({what: f"{sampled:,}, {each:,} for each update"} if sampled else {})


def warn_of_rate(understanding: Understanding, grpo: Grpo, name: str) -> None:
    """Log that all weights are trained at the learning rate of an adapter, where they are. name: step_one or step_two."""
    rate, key = grpo.rate_of(name), "grpo.learning_rate"
    if not understanding.lora_rank and rate >= 10 * WHOLE_RATE:
        key += "_two" if name == "step_two" and grpo.learning_rate_two else ""
        log.warning(f"{key}: {rate:g} is for an adapter; others train all weights by GRPO at {WHOLE_RATE:g}")


def way(settings: Settings, name: str) -> str:
    """Return what an update of step_one or step_two does, and why."""
    group, is_exact = settings.grpo.group, settings.grpo.answers_of(name) == "exact"
    if not is_exact:
        what = "thoughts and answers" if settings.answers.reasoning else "answers"
        compared = f"an update compares what {group} sampled {what} to each question earn"
        return f"GRPO (grpo.answers: sampled): {compared}"
    scored = f"the {settings.rewards.scoring} score of the probabilities of all answers that a question allows"
    if settings.answers.reasoning:
        thoughts = f"an update compares {group} sampled thoughts by {scored} after each"
        return f"GRPO of thoughts (grpo.answers: exact), for an answer need not be sampled: {thoughts}"
    return f"no sampling (grpo.answers: exact), since the answer alone is asked for: an update raises {scored}"


def prompt_tokens(settings: Settings, questions: list[Question], images: dict[str, Path]) -> tuple[int, int]:
    """Return how many tokens the prompt of the first question has, and how many of them the image takes.

    Raises UserError where the processor cannot read a prompt, or answers.tokens are too few for an answer to any question.
    """
    understanding, answers, taxonomy = settings.understanding, settings.answers, settings.data.taxonomy
    processor = load_processor(resolve_model(understanding.model))
    chat = read_chat(processor)
    for question in {question.kind: question for question in questions}.values():
        allowed = kind_named(question.kind).allowed(question, taxonomy, answers)
        prompt = chat.prompt(conversation(question.prompt))
        check_length(chat, prompt, [in_format(answer, answers.reasoning) for answer in allowed], answers.tokens)
        if settings.warmup.steps:
            asked = (replace(question, emotion=emotion) for emotion in taxonomy.emotions)
            check_length(chat, prompt, [right_answer(each, taxonomy, answers) for each in asked], answers.tokens)
    number, image = substitute(questions, images, understanding.max_pixels, processor)(0)
    text = chat.prompt(conversation(questions[number].prompt))
    try:
        inputs = chat.inputs([text], [image])
    except (ValueError, TypeError, KeyError, IndexError) as error:
        reason = first_line(error)
        raise UserError(f"understanding.model: its processor cannot read a prompt with one image ({reason})") from None
    check_fields(inputs.keys())
    whole = inputs["input_ids"].size(1)
    return whole, whole - len(chat.tokens(text)) + 1


def check_fields(made: Iterable[str]) -> None:
    """Raise UserError for fields that a processor makes and TRL's GRPO does not hand to the model."""
    known = set(signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters) | UNSAID
    if foreign := sorted(set(made) - known):
        raise UserError(
            f"understanding.model: its processor makes {', '.join(foreign)} of an image, which TRL's GRPO does not hand to"
            " the model; name a model of another family"
        )


def _check_repository(name: str | None, check: bool) -> None:
    if name and is_first_process():
        check_repository(name, "understanding.push_to_hub", create=not check)


def _check_folders(run: Path) -> None:
    """Raise UserError where an earlier version, or somebody else, wrote what this run would write."""
    for stage in (*(f"understanding/{stage}" for stage in STAGES), "mining"):
        read_recipe(run / stage / RECIPE)
    check_ours(run / "understanding" / "model", WHAT)


def _taken(folder: Path) -> int:
    """Return the bytes of what a run before this one has left in its stages' folders, which it overwrites or keeps."""
    places = [folder / name for name in (*STAGES, "model")]
    files = (Path(place, name) for each in places for place, _, names in os.walk(each) for name in names)
    return sum(file.stat().st_size for file in files if file.is_file())
