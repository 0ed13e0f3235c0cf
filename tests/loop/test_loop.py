"""The rounds as a whole, in miniature: what they leave, resumed, by two processes, and whom the judge may not be."""

import json
import re
import shutil
import subprocess

import pytest
import torch
from accelerate.state import AcceleratorState
from mapper_runs import arguments, assert_close
from safetensors.torch import load_file

import loop.main
import loop.rounds
import loop.teaching
import training.main
from config.errors import UserError
from config.loading import load
from config.section import ROOT
from loop.apart import check_apart
from loop.loop_checks import as_trained
from runtime.files import read_json, write_json
from runtime.hub import network_digest, weights_digest
from training import mapper_training
from understanding.model_folder import stages_of

WEIGHTS = "generator/mapper/diffusion_pytorch_model.safetensors"


def run_loop(settings: dict, run, **changed) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # else the first run's precision is that of all
    loop.main.main(load(arguments(settings, run=run, **changed)))


@pytest.fixture
def unmeasured(monkeypatch):
    monkeypatch.setattr(loop.main, "measure_loop", lambda *given: None)
    monkeypatch.setattr(loop.main, "write_report", lambda *given: None)


def test_a_round_leaves_a_generator_a_control_and_what_a_judge_says(loop_settings, loop_run, monkeypatch, capsys):
    monkeypatch.setattr("runtime.figures.RESAMPLES", 50)
    monkeypatch.setattr(loop.main, "write_report", lambda *given: None)
    run = loop_run()
    of_start = read_json(run / "generator/generator.json")
    write_json(run / "generator/generator.json", of_start | {"trained_with": {"models.clip": "of the start"}})
    run_loop(loop_settings, run)
    found = json.loads((run / "loop" / "metrics.json").read_text())
    assert set(found["figures"]) == {
        *("untouched", "best of 2", "best of 2 by the gate", "control", "reward", "reward, best of 2")
    }
    gain = found["paired"]["reward - control"]["joint_accuracy"]
    assert gain["n"] == 32
    for pair, gains in found["paired"].items():
        of_row, of_base = (found["figures"][row]["kid"]["value"] for row in pair.split(" - "))
        assert gains["kid"]["value"] == pytest.approx(of_row - of_base)
        assert gains["kid"]["low"] < gains["kid"]["value"] < gains["kid"]["high"]
    chosen = {pair for pair in found["paired"] if "best of" in pair.partition(" - ")[2]}
    assert chosen == {"reward, best of 2 - best of 2"}  # what training adds to the choice
    for row in found["figures"].values():
        assert {"joint_accuracy", "attribute_entropy", "least_attribute_entropy", "kid", "reward"} <= row.keys()
    rewards = {row: own["reward"]["value"] for row, own in found["figures"].items()}
    assert rewards["best of 2"] >= max(rewards["untouched"], rewards["best of 2 by the gate"])
    assert [each["round"] for each in found["rounds"]] == [0, 1]
    before, trained, control = (load_file(run / place / WEIGHTS) for place in ("", "loop", "loop/control"))
    for other in (trained, control):
        assert any(not torch.equal(before[name], weight) for name, weight in other.items())
    assert any(not torch.equal(control[name], weight) for name, weight in trained.items())
    for place in ("loop/generator", "loop/control/generator"):
        seen = read_json(run / place / "generator.json")["trained_with"]
        assert {"the loop's reward", "the loop's gate"} <= seen.keys()
        assert seen["models.clip"] == "of the start"
    capsys.readouterr()
    run_loop(loop_settings, run)
    assert capsys.readouterr().out.count("trained before, and nothing has changed") == 2


@pytest.mark.parametrize("gain", [0.1, -0.1])
def test_between_two_rounds_the_generators_images_teach_the_next_reward_where_they_help(
    loop_settings, loop_run, unmeasured, monkeypatch, capsys, gain
):
    """Whether they do is known from the val split. A killed loop resumes to the same weights."""
    few = {"questions.binary": 0, "questions.misleading": 0, "questions.confusable_share": 0, "understanding.lora_rank": 2}
    few |= {"grpo.questions_per_step": 8, "grpo.batch_size": 8, "tuning.gradient_checkpointing": "false"}
    few |= {"loop.teach": "true", "loop.teach_images": 32, "loop.teach_updates": 4, "mining.images": 32, "loop.rounds": 2}
    compare, splits = loop.teaching.compare, []

    def told(settings, *given):
        splits.append(settings.evaluate.split)
        found = compare(settings, *given)
        found["paired"]["taught - before"]["accuracy"]["low"] = gain
        return found

    monkeypatch.setattr("runtime.figures.RESAMPLES", 50)
    monkeypatch.setattr(loop.main, "is_worse", lambda now, best: False)
    monkeypatch.setattr(loop.teaching, "compare", told)
    whole, killed = loop_run("whole"), loop_run("killed")
    given = loop_settings | few | {"loop.control": "false", "evaluate.split": "test"}
    run_loop(given, whole)
    assert splits == ["val"]
    assert re.search(r"understanding, taught by \d+ images of round 1: .* on val; ", capsys.readouterr().out)
    (line,) = stages_of(whole / "loop/teaching_1/taught/step_two/model")
    by = weights_digest(str(whole / "loop/round_1/generator/mapper"))
    assert re.fullmatch(
        rf"Taught by \d+ images of the generator {by} and \d+ real ones: 4 updates of 8 questions x .*", line
    )
    taught = network_digest(str(whole / "loop/teaching_1/taught/step_two/model"))
    before = network_digest(str(whole / "understanding/model"))
    first, second = (read_json(whole / f"loop/round_{n}/generator/generator.json")["trained_with"] for n in (1, 2))
    assert first["the loop's reward"] == before
    if gain > 0:
        assert second["the loop's reward"] == taught
        assert second[f"the loop's reward, before ({before})"] == before
    else:
        assert second == first
        return

    def interrupted(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.teaching, "compare", interrupted)  # the model is taught, and nobody has measured it yet
        with pytest.raises(KeyboardInterrupt):
            run_loop(given, killed)
    run_loop(given, killed)
    weights = [load_file(run / "loop/round_2" / WEIGHTS) for run in (whole, killed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_generator_without_contents_is_compared_by_its_emotions(loop_settings, loop_run, monkeypatch):
    monkeypatch.setattr("runtime.figures.RESAMPLES", 50)
    monkeypatch.setattr(loop.main, "write_report", lambda *given: None)
    run = loop_run()
    write_json(run / "generator/generator.json", read_json(run / "generator/generator.json") | {"contents": {}})
    run_loop(loop_settings, run, mapper__content_share=0, loop__rounds=0)
    found = json.loads((run / "loop" / "metrics.json").read_text())
    assert set(found["paired"]) == {"best of 2 - untouched", "best of 2 by the gate - untouched"}
    assert all(list(pair) == ["emotion_accuracy", "kid"] for pair in found["paired"].values())
    assert {"rank correlation of the reward with emotion accuracy", "emotion accuracy of an oracle's best of 2"} <= set(
        found["candidates"]["untouched"]
    )
    assert "joint" not in json.dumps(found["candidates"])


def test_an_interrupted_round_ends_with_the_same_weights(loop_settings, loop_run, unmeasured, monkeypatch):
    whole, killed = loop_run("whole"), loop_run("killed")
    run_loop(loop_settings, whole, loop__control="false")
    save = mapper_training.save_checkpoint

    def interrupted(*given, **named):
        if given[1] == 2:
            raise KeyboardInterrupt
        save(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(mapper_training, "save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_loop(loop_settings, killed, loop__control="false")
    kept = next((killed / "loop" / "candidates").rglob("*.safetensors"))
    kept.unlink()  # as if it had been killed while it made these images
    run_loop(loop_settings, killed, loop__control="false")
    first, second = (load_file(run / "loop" / WEIGHTS) for run in (whole, killed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_round_is_trained_again_where_its_images_are_others(loop_settings, loop_run, unmeasured, capsys):
    run, of_round = loop_run(), {"loop__control": "false", "loop__conditions": 5, "loop__batch_size": 12, "loop__updates": 5}
    run_loop(loop_settings, run, **of_round)
    lines = (run / "loop/round_1/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 5  # of 20 items each epoch gives one update
    capsys.readouterr()
    run_loop(loop_settings, run, **of_round, generate__strength=0.5)
    assert "changed: generated images" in capsys.readouterr().out


def test_what_an_earlier_loop_made_does_not_outlive_one_that_makes_nothing(loop_settings, loop_run, unmeasured, monkeypatch):
    run, results = loop_run(), ("loop/generator", "loop/control/generator")
    run_loop(loop_settings, run)
    assert all((run / place).is_dir() for place in results)
    monkeypatch.setattr(loop.main, "is_worse", lambda now, best: True)
    run_loop(loop_settings, run)
    assert not any((run / place).exists() for place in results)


def test_it_trains_the_generator_in_its_own_sizes(loop_settings, loop_run):
    run = loop_run()
    given = {"mapper__hidden_size": 8, "mapper__tokens": 3, "mapper__lora_rank": 4, "mapper__gradient_accumulation": 2}
    found = as_trained(load(arguments(loop_settings, run=run, **given)), run / "generator").mapper
    assert (found.hidden_size, found.tokens, found.lora_rank, found.gradient_accumulation) == (32, 4, 0, 1)


def test_a_lora_stays_where_the_settings_do_not_name_it(loop_settings, loop_run, unmeasured):
    run = loop_run()
    AcceleratorState._reset_state(reset_partial_state=True)  # as in run_loop
    training.main.main(load(arguments(loop_settings, run=run, mapper__lora_rank=2, mapper__max_train_steps=1)))
    run_loop(loop_settings, run, loop__control="false", loop__updates=1)
    kept = [run / place / "unet_lora/pytorch_lora_weights.safetensors" for place in ("generator", "loop/generator")]
    first, second = map(load_file, kept)  # loop.trains is the mapper alone
    assert all(torch.equal(first[name], weight) for name, weight in second.items())


def test_what_would_end_it_later_is_told_at_once(loop_settings, loop_run, tmp_path):
    wrong = {
        "loop__judge": loop_settings["evaluate.object_classifier"],
        "loop__reward": tmp_path / "none.py",
        "loop__conditions": 1,
        "evaluate__fid_network": tmp_path / "none",
        "check": "true",
    }
    with pytest.raises(UserError) as error:
        run_loop(loop_settings, loop_run(), **wrong)
    lines = str(error.value).splitlines()
    starts = ("loop.batch_size: an update takes 8 images", "loop.reward: ", "evaluate.fid_network: ", "loop.judge: ")
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True)), lines
    assert "null" not in lines[-1]


def test_no_images_that_serve_leave_the_reward_as_it_is(loop_settings, loop_run, unmeasured, monkeypatch, capsys):
    monkeypatch.setattr(loop.main, "is_worse", lambda now, best: False)
    monkeypatch.setattr(loop.rounds, "teach", lambda *given: None)
    run = loop_run()
    run_loop(loop_settings, run, loop__control="false", loop__teach="true", loop__rounds=2, loop__teach_updates=100)
    assert "no generated image serves, so nothing was taught" in capsys.readouterr().out
    first, second = (read_json(run / f"loop/round_{n}/generator/generator.json")["trained_with"] for n in (1, 2))
    assert first == second


def test_it_does_not_teach_a_model_that_it_would_write_over(loop_settings, loop_run):
    run = loop_run()
    model = shutil.copytree(run / "understanding/model", run / "loop/teaching_1/taught/step_two/model")
    teaches = {"loop__teach": "true", "loop__rounds": 2, "loop__understanding": model, "check": "true"}
    with pytest.raises(UserError, match=r"^loop\.understanding: .* is what this script writes; copy it to another folder"):
        run_loop(loop_settings, run, **teaches, loop__teach_updates=100)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"loop.reward": "encoder"}, "loop.teach: teaches the reward, which is encoder; set it to false, or loop.reward="),
        ({"loop.reward": "mine.py"}, "loop.teach: teaches the reward, which is mine.py"),
        ({"loop.rounds": 1}, "loop.teach: teaches between two rounds; give loop.rounds 2 or more"),
    ],
)
def test_where_nothing_could_be_taught_it_is_refused(wrong, told):
    with pytest.raises(UserError, match=re.escape(told)):
        load(arguments({"loop.teach": "true"} | wrong))


def test_its_checks_pass_and_say_what_it_takes(loop_settings, loop_run, capsys):
    run_loop(loop_settings, loop_run(), check="true")
    assert "images to measure: 160\n" in capsys.readouterr().out  # 32 x (2 candidates, the best of 2, the control)


@pytest.mark.parametrize("given", ["caches.use=false", "loop.trains=mapper_and_lora", "emotion_space.dimension=8"])
def test_what_cannot_be_trained_is_told_at_once(loop_settings, loop_run, given):
    key, _, value = given.partition("=")
    with pytest.raises(UserError, match=key.partition(".dimension")[0]):
        run_loop(loop_settings | {key: value}, loop_run(), check="true")


def test_two_processes_do_what_one_does(loop_settings, loop_run, python, monkeypatch, tmp_path):
    monkeypatch.setattr("runtime.figures.RESAMPLES", 50)
    monkeypatch.setattr(loop.main, "write_report", lambda *given: None)
    one, two, reward = loop_run("one"), loop_run("two"), tmp_path / "mine.py"
    reward.write_text("def score(images, conditions): return [image.getpixel((0, 0))[0] for image in images]")
    kept = {"loop__control": "false", "mapper__checkpoints_kept": 9, "loop__reward": reward}
    run_loop(loop_settings, one, **kept)
    code = "import loop.main as m, runtime.figures, sys; from config.loading import load; m.write_report = lambda *_: None; "
    code += "runtime.figures.RESAMPLES = 50; "
    code += "m.main(load(sys.argv[1:]))"
    script = two.parent / "script.py"
    script.write_text(code)
    launch = [python, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--config_file", ROOT / "config/accelerate/multi_gpu.yaml", "--main_process_port", "0"]
    launch += ["--mixed_precision", "no", script]
    own = arguments(loop_settings, run=two, loop__batch_size=4, **kept)
    done = subprocess.run([*launch, *own], capture_output=True, text=True, timeout=400, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    traces = [(run / "loop/round_1/metrics.jsonl").read_text().splitlines() for run in (one, two)]
    assert len(traces[0]) == len(traces[1]) == 3
    for here, there in zip(*(map(json.loads, trace) for trace in traces), strict=True):
        assert here["loss"] == pytest.approx(there["loss"], rel=1e-3)
    figures = [json.loads((run / "loop/metrics.json").read_text())["figures"] for run in (one, two)]
    for row in ("untouched", "best of 2", "best of 2 by the gate"):
        first, second = ({name: each["value"] for name, each in own[row].items()} for own in figures)
        assert first == pytest.approx(second), row
    file = "loop/round_1/checkpoints/step-0000001/optimizer.pt"
    first, second = (torch.load(run / file, weights_only=True)["optimizer"]["state"] for run in (one, two))
    assert_close(*([each["exp_avg"] for each in state.values()] for state in (first, second)), 1e-3)


def test_the_judge_is_refused_where_anything_has_seen_it(loop_settings, loop_run, tmp_path):
    run = loop_run()

    def settings(**changed):
        return load(arguments(loop_settings, run=run, **changed))

    check_apart(settings(), run / "generator")
    with pytest.raises(UserError, match=r"loop\.judge: name a classifier") as error:
        check_apart(settings(loop__judge="null"), run / "generator")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"^loop\.judge: README\.md is no file of tensors .* and no model's folder, [^\n]*$"):
        check_apart(settings(loop__judge=ROOT / "README.md"), run / "generator")
    copied = shutil.copytree(run / "training/emotion_space/encoder", tmp_path / "another name")
    with pytest.raises(UserError, match="shares its weights with the loop's gate"):
        check_apart(settings(loop__judge=copied), run / "generator")
    with pytest.raises(UserError, match="shares its weights with the loop's reward"):
        check_apart(settings(loop__judge=copied, loop__reward="encoder"), run / "generator")
    about = read_json(run / "generator/generator.json")
    judge = str(loop_settings["loop.judge"])
    write_json(run / "generator/generator.json", about | {"trained_with": {"an earlier loop": network_digest(judge)}})
    with pytest.raises(UserError, match="shares its weights with an earlier loop"):
        check_apart(settings(), run / "generator")
