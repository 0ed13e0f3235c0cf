"""What understanding finds hard, by hand, and what counts as a copy; and the whole of loop/teach.py in miniature."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from mapper_runs import arguments

import loop.teach
import loop.teaching
from config.errors import UserError
from config.loading import load
from loop.cells import cell_errors, draw_cells, is_hard_cell, near_copies
from training.contents import Contents
from understanding.questions import question_counts

TABLE = pd.DataFrame(
    [(0, "awe", "tree"), (1, "awe", "tree"), (2, "awe", "boat"), (3, "fear", "tree")],
    columns=["row", "emotion", "attribute"],
)
ERRORS = np.array([0.2, 0.4, 0.9, 0.5])


def test_the_error_of_a_cell_is_its_mean_drawn_towards_that_of_the_emotion():
    found = cell_errors(TABLE, ERRORS)
    assert found["awe", "tree"] == pytest.approx((0.2 + 0.4 + 4 * 0.5) / 6)
    assert found["awe", "boat"] == pytest.approx((0.9 + 4 * 0.5) / 5)
    assert found["fear", "tree"] == pytest.approx(0.5)


def test_contents_are_drawn_by_their_share_times_the_error():
    contents = Contents.of({"awe": {"tree": 3, "boat": 1}, "fear": {"tree": 1, "boat": 1}}, ("awe", "fear"))
    assert contents.names == ("boat", "tree")
    errors = pd.Series({("awe", "tree"): 0.1, ("awe", "boat"): 0.9, ("fear", "tree"): 0.5})  # their mean is .5
    found = draw_cells(contents, errors).shares
    assert torch.allclose(found, torch.tensor([[9 / 12, 3 / 12], [0.5, 0.5]], dtype=torch.float64))


def test_an_image_is_of_a_hard_cell_where_its_cells_are_on_average():
    errors = pd.Series({("awe", "tree"): 0.1, ("awe", "boat"): 0.9, ("fear", "tree"): 0.5})
    errors.index.names = ["emotion", "attribute"]
    assert is_hard_cell(TABLE, errors, 5).tolist() == [False, False, True, False, False]  # the last has no attribute


def test_a_copy_is_nearer_to_a_training_image_than_these_are_to_each_other():
    train = torch.eye(6)
    made = torch.stack([torch.eye(6)[2] * 3, torch.ones(6), -torch.ones(6)])
    made[1] = torch.tensor([1.0, 1e-3, 0, 0, 0, 0])
    assert near_copies(made, train).tolist() == [True, True, False]


@pytest.mark.parametrize(("updates", "questions"), [(100, 32), (7, 48)])
def test_the_updates_get_all_their_questions(updates, questions):
    settings = load([f"loop.teach_updates={updates}", f"grpo.questions_per_step={questions}"])
    asked = loop.teaching.questions_to_teach_by(settings)
    counts = question_counts(settings.data.taxonomy, asked)
    assert updates * questions <= sum(counts.values()) < (updates + 1) * questions + 200


def test_too_few_updates_name_how_many_are_enough():
    few = ["loop.teach_updates=1", "grpo.questions_per_step=32"]
    with pytest.raises(UserError, match=r"^loop\.teach_updates: 1 x 32 questions leave binary .*; raise it to 6$") as error:
        loop.teaching.questions_to_teach_by(load(few))
    enough = int(str(error.value).rpartition(" ")[2])
    loop.teaching.questions_to_teach_by(load([f"loop.teach_updates={enough}", few[1]]))


def test_generated_images_teach_beside_a_control_and_a_killed_run_resumes(loop_settings, loop_run, monkeypatch, capsys):
    monkeypatch.setattr("runtime.figures.RESAMPLES", 50)
    run = loop_run()
    questions = {"questions.binary": 0, "questions.misleading": 0, "questions.confusable_share": 0}
    grpo = {"grpo.questions_per_step": 8, "grpo.batch_size": 8, "tuning.gradient_checkpointing": "false"}
    settings = loop_settings | questions | grpo | {"loop.teach_images": 32, "loop.teach_updates": 4, "mining.images": 32}
    given = arguments(settings | {"run": run, "understanding.lora_rank": 2})
    train = loop.teaching.train_by_grpo

    def killed(*asked):
        if asked[2].name == "teach_control":
            raise KeyboardInterrupt
        return train(*asked)

    with monkeypatch.context() as patch:
        patch.setattr(loop.teaching, "train_by_grpo", killed)
        with pytest.raises(KeyboardInterrupt):
            loop.teach.main(load(given))
    capsys.readouterr()
    loop.teach.main(load(given))
    resumed = capsys.readouterr().out
    assert resumed.count("step_two: trained before, and nothing has changed") == 1
    assert "32 kept as they are" in resumed
    found = json.loads((run / "loop" / "teaching.json").read_text())
    assert set(found["figures"]) == {"before", "taught", "teach_control"}
    assert found["about"]["made"] == 32
    assert 0 < found["about"]["served"] < 32
    assert found["paired"]["taught - teach_control"]["accuracy"]["n"] == found["figures"]["before"]["accuracy"]["n"]
    weights = [run / "loop" / way / "step_two/model/adapter_model.safetensors" for way in ("taught", "teach_control")]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    recipe = json.loads((run / "loop/taught/step_two/recipe.json").read_text())
    assert recipe["settings"]["grpo.steps_two"] == 4
    assert "Generated images teach understanding" in (run / "report" / "index.html").read_text()
    loop.teach.main(load(given))
    assert capsys.readouterr().out.count("step_two: trained before, and nothing has changed") == 2
