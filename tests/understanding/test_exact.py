"""Training on all answers at once: the objective and its gradients by hand, batches, resumption, refusals."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from families import gemma, write_family
from safetensors.torch import load_file
from tiny_trainers import llava, processor_of, qwen2_5, qwen3
from tiny_trainers import questions as tiny_questions

import understanding.answer_tree
import understanding.exact
import understanding.trainers
from config.errors import UserError
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers, Rewards
from runtime.metrics import read_metrics
from understanding.answer_tree import answer_tree, with_trees
from understanding.chat import read_chat
from understanding.exact import order_of
from understanding.kept_vision import KeptVision
from understanding.kinds import kind_named
from understanding.model import conversation
from understanding.objective import Objective, divergence
from understanding.proper_scores import FLOOR
from understanding.question import Question

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions
OTHERS = 3  # answers that nobody can read
EXACT = {"answers": "exact", "steps_one": 3, "steps_two": 0}


def asked(kind: str, is_true: bool = True) -> Question:
    names_none = kind in ("multiple", "valence")
    return Question(kind, "a", "awe", None if names_none else "awe" if is_true else "fear", EMOTIONS, 0, "?")


def objective(scoring: str = "quadratic", weight: float = 1.0, format: float = 0.2, **answers) -> Objective:
    form = Answers(reasoning=False, **answers)
    weights = dict.fromkeys(("binary", "multiple", "misleading", "valence"), weight)
    return Objective(TAXONOMY, form, Rewards(scoring=scoring, format=format), weights)


def of_allowed(question: Question, wanted: Objective, seed: int = 0) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Logits of a model that says one of the allowed answers or of OTHERS, and the allowed answers."""
    allowed = kind_named(question.kind).allowed(question, TAXONOMY, wanted.answers)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(allowed) + OTHERS, generator=generator, dtype=torch.float64).requires_grad_(), allowed


QUESTIONS = [asked(kind, is_true) for kind in ("binary", "multiple", "misleading", "valence") for is_true in (True, False)]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: f"{each.kind}-{each.is_true}")
@pytest.mark.parametrize("by", ["name", "letter"])
def test_the_reward_climbs_what_sampled_grpo_climbs_in_expectation(question, by):
    """All groups of two sampled answers, each with its probability: a group's mean as the baseline halves the gradient."""
    wanted = objective("reward", weight=1.5, by=by)
    logits, allowed = of_allowed(question, wanted)
    exact = torch.autograd.grad(wanted.value(question, logits.log_softmax(0)[: len(allowed)]), logits)[0]

    kind, log_p = kind_named(question.kind), logits.log_softmax(0)
    said = [kind.read(answer, question.options, TAXONOMY, wanted.answers) for answer in allowed] + [None] * OTHERS
    keeps = [0.2] * len(allowed) + [0.0] * OTHERS
    earned = [1.5 * kind.reward(question, each, TAXONOMY, wanted.rewards, None) for each in said]
    earned = [one + other for one, other in zip(earned, keeps, strict=True)]
    surrogate = torch.zeros((), dtype=torch.float64)
    for one, other in product(range(len(earned)), repeat=2):
        chance = (log_p[one] + log_p[other]).exp().detach()
        mean = (earned[one] + earned[other]) / 2
        surrogate = surrogate + chance * ((earned[one] - mean) * log_p[one] + (earned[other] - mean) * log_p[other]) / 2
    sampled = torch.autograd.grad(surrogate, logits)[0]
    assert exact.abs().max() > 1e-3
    torch.testing.assert_close(sampled, exact / 2, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: f"{each.kind}-{each.is_true}")
@pytest.mark.parametrize("scoring", ["quadratic", "log"])
def test_a_proper_score_is_its_formula_and_has_its_gradients(question, scoring):
    wanted = objective(scoring, weight=2.0)
    logits, allowed = of_allowed(question, wanted)
    p = logits.softmax(0)
    q = p[: len(allowed)] / p[: len(allowed)].sum()
    if question.kind == "misleading":
        mean, t = sum(q[i] * int(each) / 100 for i, each in enumerate(allowed)), float(question.is_true)
        score = 1 - 2 * (mean - t) ** 2 if scoring == "quadratic" else t * mean.log() + (1 - t) * (1 - mean).log()
    else:
        right = kind_named(question.kind).right_answer(question, TAXONOMY, wanted.answers)
        y = [float(each == right) for each in allowed]
        score = 1 - sum((q[i] - y[i]) ** 2 for i in range(len(y))) if scoring == "quadratic" else q[y.index(1.0)].log()
    expected = 2 * score + 0.2 * p[: len(allowed)].sum()
    found = wanted.value(question, p[: len(allowed)].log())
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(each, logits, retain_graph=True)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)
    if question.kind == "binary" and scoring == "quadratic":
        yes = q[allowed.index("yes")]
        torch.testing.assert_close(score, 1 - 2 * (yes - int(question.is_true)) ** 2)


@pytest.mark.parametrize("scoring", ["quadratic", "log"])
def test_the_truth_earns_the_most(scoring):
    """Of an image that is true in .7 of cases, the best answer is .7; what the reward pays for is a sure one."""
    shares = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)

    def earned(wanted: Objective, share: float) -> float:
        log_p = torch.stack([share, 1 - share]).log()
        return float(0.7 * wanted.score(asked("binary"), log_p) + 0.3 * wanted.score(asked("binary", False), log_p))

    best = max(shares, key=lambda share: earned(objective(scoring), share))
    assert float(best) == pytest.approx(0.7)
    assert float(max(shares, key=lambda share: earned(objective("reward"), share))) == pytest.approx(0.99)


def test_a_logarithm_of_nothing_is_bounded():
    found = objective("log").value(asked("binary"), torch.tensor([-200.0, 0.0]))
    assert found.isfinite()


@pytest.mark.parametrize("gap", [0.5, 14, 100, 1000])
def test_below_the_floor_a_logarithm_still_has_its_gradient(gap):
    logits = torch.tensor([-float(gap), 0.0], requires_grad=True)
    found = objective("log").score(asked("binary"), logits)
    (gradient,) = torch.autograd.grad(found, logits)
    p = 1 / (1 + math.exp(gap)) if gap < 700 else 0.0
    assert gradient.tolist() == pytest.approx([1 - p, p - 1])
    assert found.item() == pytest.approx(math.log(max(p, FLOOR)), rel=1e-5)


def test_the_format_is_held_back_by_no_divergence():
    start = torch.tensor([0.1, 0.3]).log()
    assert divergence(torch.tensor([0.2, 0.6]).log(), start).item() == pytest.approx(0, abs=1e-7)
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    assert divergence(p.log(), start).item() == pytest.approx((p * (p / q).log()).sum().item())


@pytest.fixture
def weights(quick, fine_tune):
    """Return a function that trains and gives the adapter's weights."""

    def train(name: str, **changed) -> dict[str, torch.Tensor]:
        changed["grpo"] = EXACT | changed.get("grpo", {})
        settings = quick(name, **changed)
        fine_tune(settings)
        return load_file(settings.run / "understanding/model/adapter_model.safetensors")

    return train


def assert_same(first: dict, second: dict, relative: float) -> None:
    assert any(weight.any() for name, weight in first.items() if "lora_B" in name), "something was learned"
    for name, weight in first.items():
        assert (weight - second[name]).norm() <= relative * weight.norm(), name


def plainly(monkeypatch) -> None:
    """Let an update be plain gradient descent: Adam would make much of what rounds otherwise."""
    given = understanding.trainers.common_arguments
    sgd = {"optim": "sgd", "max_grad_norm": 0.0}
    monkeypatch.setattr(understanding.trainers, "common_arguments", lambda *args: given(*args) | sgd)


def test_accumulation_is_a_larger_batch_and_kept_features_change_no_weight(weights, monkeypatch):
    plainly(monkeypatch)
    whole, parts = (weights(f"by-{size}", grpo={"batch_size": size, "learning_rate": 1.0}) for size in (8, 2))
    assert_same(whole, parts, 1e-4)
    given, without = understanding.exact.ExactTrainer.__init__, {"keep_vision": False}
    monkeypatch.setattr(understanding.exact.ExactTrainer, "__init__", lambda *a, **k: given(*a, **k | without))
    assert_same(whole, weights("plain", grpo={"batch_size": 8, "learning_rate": 1.0}), 1e-4)


def test_an_update_has_its_questions_in_the_order_of_their_lengths():
    lengths = [(number % 3, number % 5) for number in range(10)]
    order = order_of(lengths, updates=5, at_once=4, seed=7)
    assert order_of(lengths, updates=5, at_once=4, seed=7) == order != order_of(lengths, updates=5, at_once=4, seed=8)
    assert order_of(lengths, updates=2, at_once=4, seed=7) == order[:8]  # however many follow
    for update in (order[first : first + 4] for first in range(0, 20, 4)):
        assert [lengths[number] for number in update] == sorted(lengths[number] for number in update)
    assert sorted(order) == sorted([*range(10)] * 2)  # two passes, the third update in both
    passes = [torch.randperm(10, generator=torch.Generator().manual_seed(seed)).tolist() for seed in (7, 8)]
    drawn = [*passes[0], *passes[1]]
    for first in range(0, 20, 4):
        assert sorted(order[first : first + 4]) == sorted(drawn[first : first + 4])


def test_a_training_takes_its_questions_in_that_order(weights, monkeypatch, tmp_path):
    seen, orders, given = [], [], understanding.exact.ExactTrainer.compute_loss

    def seeing(trainer, model, inputs, **options):
        seen.append(list(inputs["questions"]))
        return given(trainer, model, inputs, **options)

    monkeypatch.setattr(understanding.exact.ExactTrainer, "compute_loss", seeing)
    monkeypatch.setattr(understanding.exact, "order_of", lambda *asked: orders.append(order_of(*asked)) or orders[-1])
    weights("ordered", grpo={"batch_size": 2})
    assert [number for batch in seen for number in batch] == orders[0]
    assert {len(batch) for batch in seen} == {2}


def test_killed_it_ends_with_the_same_weights_and_logs_what_it_earns(weights, monkeypatch, tmp_path):
    changed = {"tuning": {"checkpoint_every": 1}, "grpo": {"beta": 0.1}}
    whole, save = weights("whole", **changed), understanding.exact.ExactTrainer._save_checkpoint

    def killed(trainer, *args) -> None:
        save(trainer, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(understanding.exact.ExactTrainer, "_save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            weights("killed", **changed)
    again = weights("killed", **changed)
    assert "resumed from checkpoint-1" in (tmp_path / "killed/understanding/log.txt").read_text()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    lines = read_metrics(tmp_path / "killed/understanding/step_one")
    logged = [line for line in lines if "loss" in line]
    assert [line["step"] for line in logged] == [1, 2, 3]
    assert all({"score/binary", "score/multiple", "score/misleading", "allowed", "kl"} & line.keys() for line in logged)
    assert logged[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert logged[2]["kl"] > 1e-6


@pytest.mark.parametrize("architecture", [qwen2_5, qwen3, llava])
def test_kept_features_are_what_the_tower_makes_of_an_image(architecture, monkeypatch):
    """Rows 0 and 2 show the same image; on the second call two are known, and a store of one byte keeps none."""
    torch.manual_seed(0)
    model = architecture().eval()
    chat, rows = read_chat(processor_of(model)), tiny_questions(3)
    rows[2]["image"] = rows[0]["image"]
    tree = answer_tree([[1, 2], [3, 2]])

    def called(numbers: list[int]) -> dict:
        prompts = [chat.prompt(conversation(rows[number]["prompt"][0]["content"])) for number in numbers]
        inputs = dict(chat.inputs(prompts, [rows[number]["image"] for number in numbers]))
        return with_trees(model, inputs, [tree] * len(numbers))

    seen, tower = [], type(model.model).get_image_features
    for most in (2**20, 1):
        kept = KeptVision(model, most)
        for numbers in ([0, 1, 2], [1, 2], [2, 1, 0]):
            plain = model(**called(numbers)).logits
            with monkeypatch.context() as counted:
                counted.setattr(
                    kept.backbone, "get_image_features", lambda **given: seen.append(1) or tower(model.model, **given)
                )
                made = kept(called(numbers), ["ab"[number % 2] for number in numbers])
            assert "pixel_values" not in made
            torch.testing.assert_close(model(**made).logits, plain, rtol=0, atol=1e-5)
    assert len(seen) == 1 + 3


def test_it_learns(weights, tmp_path):
    only = {"questions": {"binary": 0.0, "misleading": 0.0, "count": 64}}
    weights("learns", **only, grpo={"steps_one": 24, "questions_per_step": 32, "batch_size": 32, "learning_rate": 0.005})
    lines = read_metrics(tmp_path / "learns/understanding/step_one")
    scores = [line["score/multiple"] for line in lines if "score/multiple" in line]
    assert sum(scores[-4:]) / 4 > sum(scores[:4]) / 4 + 0.1


def test_a_model_whose_answers_cannot_share_a_row_is_refused(quick, fine_tune, tmp_path):
    settings = quick(
        answers={"tokens": 12}, grpo=EXACT, understanding={"model": str(write_family(gemma, tmp_path / "gemma"))}
    )
    with pytest.raises(
        UserError, match=r"grpo\.answers: exact needs rows that answers share, and .*; set grpo.answers=sampled"
    ):
        fine_tune(settings)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("sees", [torch.ge, torch.le], ids=["those before", "those after"])
def test_an_answer_that_sees_others_is_refused(quick, fine_tune, monkeypatch, dtype, sees):
    """Whatever is asked first: of most questions the demo's model is too sure for a neighbour to change an answer."""
    given, pack, prompt = understanding.answer_tree.mask_for, understanding.answer_tree.pack_trees, []

    def pack_trees(inputs, *others):
        prompt.append(inputs["input_ids"].size(1))
        return pack(inputs, *others)

    def leaking(model, visible):
        rows, columns = torch.meshgrid(*[torch.arange(visible.size(-1)) - prompt[-1]] * 2, indexing="ij")
        return given(model, visible | ((rows >= 0) & (columns >= 0) & sees(rows, columns)))

    monkeypatch.setattr(understanding.answer_tree, "pack_trees", pack_trees)
    monkeypatch.setattr(understanding.answer_tree, "mask_for", leaking)
    fault = "an answer changes another's log-probability" if dtype == "bfloat16" else "log-probabilities differ"
    with pytest.raises(UserError, match=rf"grpo\.answers: exact needs .* {fault} .*; set grpo\.answers=sampled"):
        fine_tune(quick(grpo=EXACT, understanding={"dtype": dtype}))


@pytest.mark.parametrize(("dtype", "is_refused"), [("bfloat16", False), ("float32", True)])
def test_rounding_is_refused_in_full_precision_alone(quick, fine_tune, monkeypatch, dtype, is_refused):
    given = understanding.exact.ExactTrainer._apart
    monkeypatch.setattr(understanding.exact.ExactTrainer, "_apart", lambda *asked: given(*asked) + 0.3)
    settings = quick(grpo=EXACT | {"steps_one": 1}, understanding={"dtype": dtype})
    if is_refused:
        with pytest.raises(UserError, match=r"log-probabilities differ from those of rows apart by 0\.3"):
            fine_tune(settings)
    else:
        fine_tune(settings)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": {"graded": True}, "grpo": EXACT}, r"rewards\.graded: works with sampled answers only"),
        ({"rewards": {"length": 0.1}, "grpo": EXACT}, r"rewards\.length: works with sampled answers only"),
        ({"grpo": EXACT | {"share_prefix": False}}, r"grpo\.share_prefix: exact answers always share their prompt"),
        ({"grpo": EXACT | {"compile_decoding": True}}, r"grpo\.compile_decoding: nothing is sampled here"),
        (
            {"grpo": {"compile_decoding": True, "share_prefix": False}},
            r"grpo\.compile_decoding: works with grpo\.share_prefix=true only",
        ),
        (
            {"rewards": {"length": 0.1, "length_limit": 6}},
            r"rewards\.length_limit: no answer is longer than answers\.tokens, 6",
        ),
        ({"mining": {"easy_share": 0.2}}, r"mining\.easy_share: with mining\.lowest 0 no image is easier"),
        ({"rewards": {"scoring": "log"}}, r"rewards\.scoring: log is a score of distributions"),
        ({"answers": {"score_step": 3}}, r"answers\.score_step: 3 does not divide 100; the next that does is 4"),
    ],
)
def test_what_does_not_go_together_is_told(quick, changed, message):
    with pytest.raises(UserError, match=message):
        quick(**changed)


def test_older_names_of_scores_and_of_their_step_are_read(quick):
    settings = quick(rewards={"scoring": "published"}, questions={"score_step": 10})
    assert (settings.rewards.scoring, settings.answers.score_step) == ("reward", 10)
    assert quick(rewards={"scoring": "brier"}).rewards.scoring == "quadratic"


@pytest.mark.parametrize(("step", "sure"), [(1, "95"), (2, "94"), (5, "95"), (25, "75"), (50, "100")])
def test_scores_are_asked_in_steps(step, sure):
    kind, answers, question = kind_named("misleading"), Answers(score_step=step), asked("misleading")
    allowed = kind.allowed(question, TAXONOMY, answers)
    assert (allowed[0], allowed[-1], len(allowed)) == ("0", "100", 100 // step + 1)
    assert kind.right_answer(question, TAXONOMY, answers) == sure
    assert kind.right_answer(replace(question, asked="fear"), TAXONOMY, answers) == str(100 - int(sure))
    texts = [kind.text(phrasing, "awe", (), answers) for phrasing in range(4)]
    assert [f"in steps of {step}" in text for text in texts] == [step > 1] * 4


def test_full_weights_in_half_precision_share_rows_and_what_the_tower_made(quick, fine_tune):
    """They are float32, and run in bfloat16 under autocast."""
    settings = quick(grpo=EXACT | {"steps_one": 1, "evaluate_every": 1}, understanding={"lora_rank": 0, "dtype": "bfloat16"})
    fine_tune(settings)
    said = (settings.run / "understanding/log.txt").read_text()
    assert "runs its own prompt" not in said
    assert "the vision tower sees an image once for each question" not in said
