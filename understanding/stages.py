"""The stages of understanding.py: each is skipped where its result is there, and goes on where it was stopped."""

import gc
import json
import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState

from config.errors import UserError
from runtime.files import write_atomically
from runtime.run_folder import inner_stage, is_first_process, log
from config.settings import Settings
from runtime.built_folder import building
from runtime.hub import check_repository, upload, weights_digest
from understanding import mining
from understanding.answering import digest
from understanding.grpo import plan, train
from understanding.loading import load_processor
from understanding.model import check_four_bit, conversation, start_process
from understanding.questions import Question
from understanding.result import save_result
from understanding.vllm_check import check_vllm_installed
from understanding.warmup import train_on_answers

RECIPE = "recipe.json"
# What the weights of a step do not depend on; how many updates it has, its recipe says apart.
WATCHING = {
    "steps_one",
    "steps_two",
    "log_every",
    "evaluate_every",
    "evaluated_questions",
    "checkpoint_every",
    "checkpoints_kept",
    "tracker",
    "workers",
}


class Stages:
    """The stages in their order, each starting from `model`: what the one before has made, by name or folder.

    images: the file of every image id. confusability: (8, 8) or None. asked_on_val: the questions of evaluations.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        data: str,
        images: dict[str, Path],
        confusability: np.ndarray | None,
        asked_on_val: list[Question],
    ):
        self.settings, self.folder, self.images, self.confusability = settings, folder, images, confusability
        self.asked_on_val = asked_on_val
        self.model: str | Path = settings.understanding.model
        self.done: list[str] = []
        self._recipe = dict(data=data, base=weights_digest(settings.understanding.model), seed=settings.seed)
        start_process()

    def announce(self, questions: list[Question]) -> None:
        """Say what a step amounts to, and refuse what cannot be, before a model is loaded."""
        settings, grpo = self.settings, self.settings.grpo
        if settings.understanding.four_bit:
            check_four_bit()
        if grpo.tracker != "none" and not find_spec(grpo.tracker):
            raise UserError(f"grpo.tracker: {grpo.tracker} is not installed; pip install {grpo.tracker}, or choose none")
        if grpo.vllm:
            check_vllm_installed()
        if settings.understanding.push_to_hub and is_first_process():
            check_repository(settings.understanding.push_to_hub, "understanding.push_to_hub")
        shared = plan(settings, len(questions), grpo.steps_one)
        if shared.processes != PartialState().num_processes:
            raise UserError(f"{shared.processes} processes were launched, but they found {PartialState().num_processes}")
        prompt, image = prompt_tokens(settings, questions[0], self.images[questions[0].image_id])
        log.info(
            f"{len(questions):,} questions; an update: {grpo.questions_per_step} questions x {grpo.group} answers on"
            f" {shared.processes} processes ({PartialState().device.type}), each"
            f" {shared.accumulation} times {grpo.batch_size} x {grpo.group} answers; {shared.steps:,} updates in Step I,"
            f" of {len(questions) // grpo.questions_per_step:,} to a pass over the questions\n"
            f"a prompt: {prompt} tokens, {image} of them the image; an answer: up to {grpo.answer_tokens}"
        )

    def warm_up(self, questions: list[Question]) -> None:
        """Fine-tune on right answers for `warmup.steps` updates."""
        if steps := self.settings.warmup.steps:
            grpo = self.settings.grpo.model_dump(include={"warmup_steps", "max_gradient_norm"})
            chosen = dict(warmup=self.settings.warmup.model_dump(), grpo=grpo) | self._asked(questions)
            training = partial(train_on_answers, self.settings, self.model, questions, self.images)
            self._run("warm_up", chosen, training, steps, f"Supervised warm-up: {steps:,} updates on right answers")

    def grpo(self, name: str, questions: list[Question], limit: int | None) -> None:
        """Train by GRPO for `limit` updates, or one pass over the questions."""
        steps = plan(self.settings, len(questions), limit).steps
        if not steps:
            return
        grpo = self.settings.grpo.model_dump(exclude=WATCHING)
        chosen = dict(grpo=grpo, rewards=self.settings.rewards.model_dump(), steps=steps) | self._asked(questions)
        asked = (questions, self.asked_on_val, self.images, self.confusability)
        training = partial(train, self.settings, name, self.model, *asked, steps)
        label = {"step_one": "Step I, training images", "step_two": "Step II, hard images"}[name]
        each = f"{self.settings.grpo.questions_per_step} questions x {self.settings.grpo.group} answers"
        self._run(name, chosen, training, steps, f"{label}: {steps:,} updates of {each}")

    def _asked(self, questions: list[Question]) -> dict:
        """Return what is asked, for a recipe."""
        images = [question.image_id for question in questions[:1000]]
        matrix = None if self.confusability is None else digest(self.confusability.tolist())
        return dict(questions=self.settings.questions.model_dump(mode="json"), images=images, confusability=matrix)

    def hard_images(self, images: pd.DataFrame) -> pd.DataFrame:
        """Return those of Step II, from what the reference model answers; it is asked where it has not been."""
        with inner_stage(self.settings, "mining") as folder:
            errors = mining.mine(images, folder, self.settings)
        _free()
        return mining.hard_images(errors, self.settings.mining, self.settings.seed)

    def finish(self) -> None:
        """Copy the last stage's model to `model/`, and upload it where the config says so."""
        if not isinstance(self.model, Path):
            raise UserError("nothing was trained: warmup.steps, grpo.steps_one and grpo.steps_two are all 0")
        result = self.folder / "model"
        if is_first_process():
            with building(result, {"what": "understanding model", "steps": self.done}) as work:
                shutil.copytree(self.model, work, dirs_exist_ok=True)
            if repository := self.settings.understanding.push_to_hub:
                upload(result, repository)
        log.info(f"the fine-tuned model is in {result.relative_to(self.settings.run)}/")

    def _run(self, name: str, chosen: dict, training: Callable[[Path], None], steps: int, what: str) -> None:
        """Run a stage, or find it done: make its folder ready, train, save the model, and go on from there.

        training: of the stage's `steps` updates, in the folder that it is given. what: was done, for the log and the card.
        Another recipe's training in that folder is moved aside, to `<name>.old`.
        """
        self.done.append(what)
        self._recipe = {"what": "understanding", **self._recipe, name: chosen}
        self._recipe["understanding"] = self.settings.understanding.model_dump(
            mode="json", exclude={"push_to_hub", "reference"}
        )
        folder, recipe = self.folder / name, json.dumps(self._recipe, indent=1)
        known = folder / RECIPE
        is_same = known.exists() and known.read_text() == recipe
        finished = is_same and (folder / "model").exists()
        last = folder / "checkpoints" / f"checkpoint-{steps}"
        trained = is_same and last.is_dir()
        PartialState().wait_for_everyone()  # all have looked before anybody writes
        if not is_same and is_first_process():
            if folder.exists():
                old = folder.with_name(f"{name}.old")
                shutil.rmtree(old, ignore_errors=True)
                folder.rename(old)
                log.info(f"{name}: the settings or data have changed; the training before them is in {old.name}/")
            folder.mkdir()
            write_atomically(known, lambda path: path.write_text(recipe))
        PartialState().wait_for_everyone()
        if finished:
            log.info(f"{name}: trained before, and nothing has changed")
        else:
            if not trained:
                training(folder)
                _free()
            save_result(last, self.model, folder / "model", self.settings, self.done)
        self.model = folder / "model"


def prompt_tokens(settings: Settings, question: Question, path: Path) -> tuple[int, int]:
    """Return how many tokens the prompt of a question has, and how many of them the image takes."""
    from runtime.hub import resolve_model
    from emoset.images import load_image
    from understanding.model import bounded

    processor = load_processor(resolve_model(settings.understanding.model))
    text = processor.apply_chat_template(conversation(question.prompt), add_generation_prompt=True, tokenize=False)
    image = bounded(load_image(path), settings.understanding.max_pixels)
    whole = len(processor(images=[[image]], text=[text], return_tensors="pt").input_ids[0])
    return whole, whole - len(processor.tokenizer(text).input_ids) + 1


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
