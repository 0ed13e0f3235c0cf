"""What is checked, and said, before a model is loaded: what cannot be, and how large an update and a prompt are."""

from collections.abc import Iterable
from inspect import signature
from pathlib import Path

from trl import GRPOTrainer

from config.data_settings import Machine
from config.errors import UserError, first_line
from config.settings import Settings
from config.understanding_settings import Understanding
from emoset.images import load_image
from runtime.built_folder import check_ours
from runtime.hub import check_repository, resolve_model
from runtime.metrics import check_tracker
from runtime.recipe import RECIPE, read_recipe
from runtime.run_folder import is_first_process, log
from understanding.chat import read_chat
from understanding.grpo import plan
from understanding.model import bounded, check_four_bit, conversation
from understanding.model_folder import WHAT
from understanding.processor import load_processor
from understanding.question import Question
from understanding.shared_prefix import UNSAID
from understanding.trainers import start_training_process


def check_and_announce(settings: Settings, questions: list[Question], images: dict[str, Path]) -> None:
    """Start this process, refuse what cannot be trained, and log what a step amounts to. images: the file of every id."""
    state, grpo = start_training_process(), settings.grpo
    _check_extras(settings.understanding, settings.machine)
    for stage in ("understanding/warm_up", "understanding/step_one", "understanding/step_two", "mining"):
        read_recipe(settings.run / stage / RECIPE)  # refuses what an earlier version wrote
    check_ours(settings.run / "understanding" / "model", WHAT)
    shared = plan(grpo, len(questions), grpo.steps_one)
    if shared.processes != state.num_processes:
        raise UserError(f"{shared.processes} processes were launched, but they found {state.num_processes}")
    prompt, image = prompt_tokens(settings.understanding, questions[0], images[questions[0].image_id])
    log.info(
        f"{len(questions):,} questions; an update: {grpo.questions_per_step} questions x {grpo.group} answers on"
        f" {shared.processes} processes ({state.device.type}), each"
        f" {shared.accumulation} times {grpo.batch_size} x {grpo.group} answers; {shared.steps:,} updates in Step I,"
        f" of {len(questions) // grpo.questions_per_step:,} to a pass over the questions\n"
        f"a prompt: {prompt} tokens, {image} of them the image; an answer: up to {settings.answers.tokens}"
    )


def prompt_tokens(understanding: Understanding, question: Question, path: Path) -> tuple[int, int]:
    """Return how many tokens the prompt of a question has, and how many of them the image takes."""
    chat = read_chat(load_processor(resolve_model(understanding.model)))
    text = chat.prompt(conversation(question.prompt))
    image = bounded(load_image(path), understanding.max_pixels)
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


def _check_extras(understanding: Understanding, machine: Machine) -> None:
    """Raise UserError where the config asks for a package, a GPU or a repository that is not there."""
    if understanding.four_bit:
        check_four_bit()
    check_tracker(machine.tracker)
    if understanding.push_to_hub and is_first_process():
        check_repository(understanding.push_to_hub, "understanding.push_to_hub")
