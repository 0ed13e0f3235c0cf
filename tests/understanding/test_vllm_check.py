"""vLLM may sample where it is installed and gives the greedy answers of transformers; a stand-in takes its place here."""

import copy
import importlib.util

import pytest

from config.errors import UserError
from understanding.vllm_check import check_vllm_agrees


@pytest.fixture
def beside_vllm(trainer):
    """GRPO's trainer, with something in vLLM's place that answers as transformers does, or as told."""
    made, _ = trainer
    greedy = copy.copy(made.generation_config)
    greedy.do_sample = False
    del made.generation_config, made.generation_kwargs  # as TRL leaves them unset where vLLM samples

    class StandIn:
        temperature = 0.7
        told = None

        def sync_weights(self): ...

        def generate(self, prompts, images, num_generations, profiler):
            assert self.temperature == 0, "answers are to be compared greedily"
            assert len({image.tobytes() for (image,) in images}) == 4
            made.use_vllm, made.generation_config = False, greedy
            answers, _ = made._generate_single_turn(*made._asked, num_generations)
            made.use_vllm = True
            del made.generation_config
            if self.told:
                answers[-1] = self.told(answers[-1])
            return prompts, answers, [[[0.0]] * len(answer) for answer in answers], None

    tokenize = made._tokenize_prompts

    def kept(prompts):
        made._asked = tokenize(prompts)
        return made._asked

    made._tokenize_prompts = kept
    made.use_vllm, made.vllm_generation, made._last_loaded_step = True, StandIn(), -1
    return made


def test_equal_greedy_answers_let_vllm_sample(beside_vllm):
    processor = beside_vllm.processing_class
    check_vllm_agrees(beside_vllm)
    assert beside_vllm.use_vllm
    assert not hasattr(beside_vllm, "generation_config")
    assert beside_vllm.vllm_generation.temperature == 0.7
    assert beside_vllm.processing_class is processor


def test_a_different_greedy_answer_refuses_it(beside_vllm):
    beside_vllm.vllm_generation.told = lambda answer: [answer[0] + 1, *answer[1:]]
    with pytest.raises(UserError, match=r"grpo\.vllm: to the same question vLLM answers .* and transformers .*, greedily"):
        check_vllm_agrees(beside_vllm)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_one_line_says_so_before_a_model_is_loaded(quick, fine_tune, monkeypatch):
    monkeypatch.setattr("understanding.grpo.load_trainable", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(UserError, match=r"grpo\.vllm: vllm is not installed; pip install vllm") as error:
        fine_tune(quick(grpo={"vllm": True}))
    assert "\n" not in str(error.value)
