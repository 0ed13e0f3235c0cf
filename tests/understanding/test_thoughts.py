"""GRPO of thoughts with the answer integrated out: where thoughts end, what they earn, gradients, whole trainings."""

import json
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from families import gemma, internvl, onevision, qwen, smol, write_family
from safetensors.torch import load_file

import understanding.trainers
from config.errors import UserError
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers, Rewards
from runtime.metrics import read_metrics
from understanding.answer_tree import log_probabilities, with_trees
from understanding.asking import GREY
from understanding.chat import Chat, read_chat
from understanding.kinds import kind_named
from understanding.model import conversation
from understanding.objective import Objective, Tally
from understanding.packing import prompt_positions
from understanding.processor import load_processor
from understanding.question import Question
from understanding.thoughts import Found, Thought, ThoughtReader, ThoughtTrainer, thought_tree

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions
SCORES = tuple(map(str, range(0, 101, 5)))
VOCABULARIES = {"demo": ROOT / "demo/models/vision_language", "qwen": ROOT / "../shared/tokenizers/qwen2_5_vl"}


@pytest.fixture(params=VOCABULARIES)
def chat(request) -> Chat:
    if not VOCABULARIES[request.param].is_dir():
        pytest.skip(f"no vocabulary in {VOCABULARIES[request.param]}")
    return read_chat(load_processor(str(VOCABULARIES[request.param])))


def completion(chat: Chat, text: str) -> list[int]:
    return chat.tokens(text + chat.closing)


@pytest.mark.parametrize("allowed", [EMOTIONS, SCORES, ("yes", "no"), ("A", "B", "C"), ("fear", "fearful", "fea")])
@pytest.mark.parametrize("between", ["</think><answer>", "</think> <answer>", "</think>\n<answer>"])
def test_a_thought_and_each_answer_after_it_are_the_whole_text_as_it_is_emitted(chat, allowed, between):
    start = f"<think>a dark wood{between}"
    for said in (allowed[0], allowed[-1], "what nobody allows"):
        thought = ThoughtReader(chat)(completion(chat, f"{start}{said}</answer>"), allowed)
        wholes = [completion(chat, f"{start}{answer}</answer>") for answer in allowed]
        assert [thought.before + answer for answer in thought.answers] == wholes
        assert len({answer[0] for answer in thought.answers}) > 1, "cut as late as can be"


def test_what_came_after_the_tag_in_a_sample_does_not_matter(chat):
    texts = ("fear</answer>", "", "fea", "I do not know", "awe</answer> and more", "<answer>")
    found = [ThoughtReader(chat)(completion(chat, f"<think>wood</think> <answer>{text}"), EMOTIONS) for text in texts]
    assert all((each.before, each.answers) == (found[0].before, found[0].answers) for each in found)


def test_thoughts_are_the_tokens_that_were_sampled(chat):
    """Letter by letter, as no tokenizer writes it: the thought is not tokenised again."""
    sampled = [token for letter in "<think>a dark wood</think><answer>" for token in chat.tokens(letter)]
    thought = ThoughtReader(chat)(sampled + completion(chat, "fear</answer>"), EMOTIONS)
    assert thought.tokens == sampled
    dark = len(sampled) - sum(len(chat.tokens(letter)) for letter in "<answer>")
    assert thought.before[:dark] == sampled[:dark]
    texts = [chat.processor.tokenizer.decode(thought.before + answer) for answer in thought.answers]
    assert texts == [f"<think>a dark wood</think><answer>{emotion}</answer>{chat.closing}" for emotion in EMOTIONS]


UNREADABLE = ("", "awe", "<think>wood", "<answer>awe</answer>", "wood</think><answer>awe</answer>")
UNREADABLE += ("<think>a<think>b</think><answer>awe", "<think>a</think>b<answer>awe</answer>")
UNREADABLE += ("<think>a<answer>b</answer></think><answer>awe", "<think><|im_end|></think><answer>")


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_completion_without_its_tags_in_order_is_all_thought_and_no_answer(chat, text):
    sampled = completion(chat, text)
    assert ThoughtReader(chat)(sampled, EMOTIONS) == Thought(sampled, sampled, [])


AFTER = (
    "<answer>yes</answer>",
    "<answer>fear</answer>",
    "<answer>70",
    "<answer>\n70",
    "<answer>.",
    "<answer:",
    "<answ",
    "!",
)


@pytest.mark.parametrize("allowed", [("yes", "no"), EMOTIONS, SCORES])
def test_what_a_thought_earns_depends_on_no_token_that_its_probability_does_not_count(chat, allowed):
    """However a tag and what follows it are tokenised, the mean of R · ∇ ln π(thought) is the gradient of the mean of R."""
    start = chat.tokens("<think>wood</think>")
    letters = [token for letter in "<answer>yes" for token in chat.tokens(letter)]
    sampled = [start + chat.tokens(text) for text in AFTER] + [start + letters]
    sampled = [[*tokens, chat.end] for tokens in sampled]
    random, branches = torch.Generator().manual_seed(0), {}
    for tokens in sampled:
        for place, token in enumerate(tokens):
            branches.setdefault(tuple(tokens[:place]), []).append(token)
    branches = {before: list(dict.fromkeys(after)) for before, after in branches.items()}
    logits = {
        before: torch.randn(len(after), generator=random).double().requires_grad_() for before, after in branches.items()
    }

    def log_p(tokens: list[int]) -> torch.Tensor:
        steps = [(tuple(tokens[:place]), token) for place, token in enumerate(tokens)]
        return sum(logits[before].log_softmax(0)[branches[before].index(token)] for before, token in steps)

    thoughts = [ThoughtReader(chat)(tokens, allowed) for tokens in sampled]
    readable = [thought for thought in thoughts if thought.answers]
    assert 4 < len(readable) < len(thoughts)
    found = {tuple(thought.before): torch.randn((), generator=random).double() for thought in readable}
    earned = [found[tuple(each.before)] if each.answers else torch.tensor(-1.0).double() for each in thoughts]
    pairs = [*zip(sampled, thoughts, earned, strict=True)]
    loss = sum(log_p(tokens).exp().detach() * reward * log_p(thought.tokens) for tokens, thought, reward in pairs)
    mean = sum(log_p(tokens).exp() * reward for tokens, _, reward in pairs)
    weights = [each for each in logits.values() if len(each) > 1]
    for by_thoughts, exact in zip(
        *(torch.autograd.grad(each, weights, materialize_grads=True) for each in (loss, mean)), strict=True
    ):
        torch.testing.assert_close(by_thoughts, exact, rtol=1e-9, atol=1e-12)


def asked(kind: str) -> Question:
    return Question(kind, "a", "awe", None if kind == "multiple" else "awe", EMOTIONS, 0, "?")


def test_probabilities_are_those_of_rows_of_their_own(trainer):
    """Two thoughts about each of two questions, one unreadable, against the model's own reading of every whole sequence."""
    made, _ = trainer
    model, chat = made.model.eval(), read_chat(made.processing_class)
    texts = [
        "<think>dark</think><answer>yes</answer>",
        "<think>it is a wood",
        "<think></think> <answer>no",
        "<think>a</think><answer>",
    ]
    read, allowed = ThoughtReader(chat), ("yes", "no")
    thoughts = [read(completion(chat, text), allowed) for text in texts]
    prompts = [chat.prompt(conversation(text)) for text in ("Is this awe? Answer yes or no.", "Fear?")]
    inputs = dict(chat.inputs(prompts, [GREY.resize((56, 56))] * 2))
    assert prompt_positions(model, inputs).shape[-2] == 2
    groups = [thoughts[:2], thoughts[2:]]
    trees = list(map(thought_tree, groups))
    with torch.no_grad():
        found = log_probabilities(model(**with_trees(model, inputs, trees)).logits, trees)
        for row, (own, group) in enumerate(zip(found, groups, strict=True)):
            expected = []
            for thought in group:
                expected.append(alone(model, chat, prompts[row], [], thought.tokens))
                expected += [alone(model, chat, prompts[row], thought.before, answer) for answer in thought.answers]
            torch.testing.assert_close(own, torch.tensor(expected), atol=1e-4, rtol=1e-5)


def alone(model, chat: Chat, prompt: str, before: list[int], tokens: list[int]) -> float:
    """ln p of tokens after a prompt and `before`, in a row of its own."""
    inputs = dict(chat.inputs([prompt], [GREY.resize((56, 56))]))
    added = torch.tensor([before + tokens])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], added], 1)
    for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        inputs[name] = torch.cat([inputs[name], torch.full_like(added, value)], 1)
    logits = model(**inputs).logits[0, -len(tokens) - 1 : -1].log_softmax(-1)
    return logits.gather(1, torch.tensor(tokens)[:, None]).sum().item()


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("scoring", ["quadratic", "log", "reward"])
@pytest.mark.parametrize("kind", ["binary", "multiple", "misleading"])
def test_the_gradient_is_that_of_what_is_earned_on_average(kind, scoring, beta):
    """Three thoughts, the last unreadable; all groups of three, each with its probability."""
    question, group = asked(kind), 3
    rewards = Rewards(scoring=scoring, format=0.2)
    objective = Objective(TAXONOMY, Answers(), rewards, {kind: 1.5})
    count = len(kind_named(kind).allowed(question, TAXONOMY, Answers()))
    random = torch.Generator().manual_seed(0)
    drawn = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64)  # noqa: E731
    logits, answers = drawn(3).requires_grad_(), drawn(2, count + 2).requires_grad_()
    said, own = logits.log_softmax(0), answers.log_softmax(1)[:, :count]
    said_before, own_before = drawn(3).log_softmax(0), drawn(2, count + 2).log_softmax(1)[:, :count]

    def found(log_p, after, numbers) -> Found:
        return Found(log_p[list(numbers)], [after[each] if each < 2 else after.new_zeros(0) for each in numbers])

    trainer = SimpleNamespace(objective=objective, divergence_weight=beta, seen=Tally())
    expected_loss = torch.zeros((), dtype=torch.float64)
    for numbers in product(range(3), repeat=group):
        start = found(said_before, own_before, numbers) if beta else None
        loss = ThoughtTrainer._loss(trainer, question, found(said, own, numbers), start)
        expected_loss = expected_loss + said[list(numbers)].sum().exp().detach() * loss

    q, before = (each.log_softmax(1) for each in (own, own_before))
    apart = torch.cat([(q.exp() * (q - before)).sum(1), torch.zeros(1, dtype=torch.float64)])
    earned = torch.stack([*(objective.value(question, each) for each in own), logits.new_tensor(objective.worst(question))])
    whole = said.exp() @ (earned - beta * (apart + said - said_before))
    found_gradients = torch.autograd.grad(expected_loss, (logits, answers), retain_graph=True)
    for found_gradient, exact in zip(found_gradients, torch.autograd.grad(-whole, (logits, answers)), strict=True):
        assert exact.abs().max() > 1e-3
        torch.testing.assert_close(found_gradient, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["binary", "multiple", "misleading"])
@pytest.mark.parametrize("scoring", ["quadratic", "log", "reward"])
def test_no_answer_is_worth_less_than_none(kind, scoring):
    question, objective = asked(kind), Objective(TAXONOMY, Answers(), Rewards(scoring=scoring), {kind: 2.0})
    count = len(kind_named(kind).allowed(question, TAXONOMY, Answers()))
    sure = torch.full((count, count), -40.0).fill_diagonal_(0.0)
    worst = min(2 * objective.score(question, each).item() for each in sure)
    assert worst == pytest.approx(objective.worst(question), abs=1e-5)


SAID = (
    "<think>dark</think><answer>yes</answer>",
    "<think>a face</think><answer>awe",
    "no format",
    "<think></think> <answer>0",
)


def made_up(trainer, prompt_ids, images, *_):
    """The same completions to every question, whatever the process; one of four is unreadable."""
    chat = trainer.read.chat
    return [completion(chat, SAID[place % trainer.num_generations]) for place in range(len(prompt_ids))], None


@pytest.fixture
def weights(quick, fine_tune, monkeypatch):
    """Return a function that trains by plain gradient descent on made-up thoughts and gives the adapter's weights."""
    given = understanding.trainers.common_arguments
    sgd = {"optim": "sgd", "max_grad_norm": 0.0}
    monkeypatch.setattr(understanding.trainers, "common_arguments", lambda *args: given(*args) | sgd)
    monkeypatch.setattr(ThoughtTrainer, "_generate_single_turn", made_up)

    def train(name: str, **grpo) -> dict[str, torch.Tensor]:
        thoughts = {"answers": "exact", "steps_one": 3, "steps_two": 0, "learning_rate": 0.1}
        tuning = {"checkpoint_every": 1}
        settings = quick(name, answers={"reasoning": True, "tokens": 40}, grpo=thoughts | grpo, tuning=tuning)
        fine_tune(settings)
        return load_file(settings.run / "understanding/model/adapter_model.safetensors")

    return train


def test_accumulation_is_a_larger_batch(weights):
    whole, parts = (weights(f"by-{size}", batch_size=size) for size in (8, 2))
    assert any(weight.any() for name, weight in whole.items() if "lora_B" in name), "something was learned"
    for name, weight in whole.items():
        assert (weight - parts[name]).norm() <= 1e-4 * weight.norm(), name


def test_killed_it_ends_with_the_same_weights_and_logs_what_thoughts_earn(weights, monkeypatch, tmp_path):
    changed = {"beta": 0.1, "temperature": 1.5}
    whole, save = weights("whole", **changed), ThoughtTrainer._save_checkpoint

    def killed(trainer, *args) -> None:
        save(trainer, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(ThoughtTrainer, "_save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            weights("killed", **changed)
    again = weights("killed", **changed)
    assert "resumed from checkpoint-1" in (tmp_path / "killed/understanding/log.txt").read_text()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    logged = [line for line in read_metrics(tmp_path / "killed/understanding/step_one") if "loss" in line]
    assert [line["step"] for line in logged] == [1, 2, 3]
    for line in logged:
        assert {"score/binary", "score/multiple", "variance/misleading", "allowed", "kl", "entropy"} <= line.keys()
        assert "reward" not in line
        assert (line["unreadable_thoughts"], line["alike_thoughts"]) == (0.25, 0.0)
        assert min(line[f"variance/{kind}"] for kind in ("binary", "multiple", "misleading")) > 0
    assert logged[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert abs(logged[2]["kl"]) > 1e-3
    recipe = json.loads((tmp_path / "killed/understanding/step_one/recipe.json").read_text())
    assert "grpo.temperature" in str(recipe)


def test_a_model_whose_answers_cannot_share_a_row_is_refused(quick, fine_tune, tmp_path):
    model = {"model": str(write_family(gemma, tmp_path / "gemma"))}
    settings = quick(
        answers={"reasoning": True, "tokens": 60}, grpo={"answers": "exact", "steps_two": 0}, understanding=model
    )
    with pytest.raises(UserError, match=r"grpo\.answers: exact needs rows that .*; set grpo.answers=sampled"):
        fine_tune(settings)


@pytest.mark.slow
@pytest.mark.parametrize("family", [qwen, smol, onevision, internvl])
def test_other_families_train(quick, fine_tune, monkeypatch, tmp_path, family):
    monkeypatch.setattr(ThoughtTrainer, "_generate_single_turn", made_up)
    model = {"model": str(write_family(family, tmp_path / "model"))}
    thoughts = {"answers": "exact", "steps_one": 1, "steps_two": 0, "questions_per_step": 4, "batch_size": 2, "beta": 0.1}
    settings = quick(answers={"reasoning": True, "tokens": 60}, grpo=thoughts, understanding=model)
    fine_tune(settings)
    found = load_file(settings.run / "understanding/model/adapter_model.safetensors")
    assert any(weight.any() for name, weight in found.items() if "lora_B" in name)
    (line,) = [line for line in read_metrics(settings.run / "understanding/step_one") if "loss" in line]
    assert line["unreadable_thoughts"] == 0.25
