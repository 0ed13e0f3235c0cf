"""The emotion fills its placeholder's positions, and no other."""

import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from config.errors import UserError
from training.conditioning import encode, pooled, tokenize


@pytest.fixture(scope="module")
def clip(models):
    return (
        CLIPTokenizer.from_pretrained(models / "clip"),
        CLIPTextModel.from_pretrained(models / "stable_diffusion", subfolder="text_encoder").eval(),
    )


def test_without_a_placeholder_it_is_the_tokenizer(clip):
    tokenizer, _ = clip
    prompts = ["a photo of a tree", "", "tree " * 40]
    theirs = tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    ours = tokenize(tokenizer, prompts, tokens=3)
    assert torch.equal(ours.input_ids, theirs)
    assert not ours.placeholder.any()
    assert ours.end.tolist() == [6, 1, 19]


@pytest.mark.parametrize("tokens", [1, 3])
def test_the_words_around_a_placeholder_are_tokenized_as_ever(clip, tokens):
    tokenizer, _ = clip
    ours = tokenize(tokenizer, ["a photo of a <emotion> tree in a park"], tokens)
    left, right = (tokenizer(words, add_special_tokens=False).input_ids for words in ("a photo of a", "tree in a park"))
    ids = [tokenizer.bos_token_id, *left, *[0] * tokens, *right, tokenizer.eos_token_id]
    assert ours.input_ids[0, : len(ids)].tolist() == ids
    assert ours.placeholder[0].nonzero().flatten().tolist() == list(range(5, 5 + tokens))
    assert ours.end.item() == len(ids) - 1


def test_only_the_placeholder_is_overwritten(clip):
    tokenizer, text_encoder = clip
    prompts = tokenize(tokenizer, ["<emotion>", "a <emotion> tree", "a tree"], tokens=2)
    embeddings, entered = torch.randn(3, 2, 32), []
    handle = text_encoder.embeddings.register_forward_hook(lambda *arguments: entered.append(arguments[-1]))
    encode(text_encoder, prompts)
    encode(text_encoder, prompts, embeddings)
    handle.remove()
    plain, filled = entered
    where = prompts.placeholder
    assert torch.equal(filled[~where], plain[~where])
    positions = text_encoder.embeddings.position_embedding.weight.expand_as(plain)
    assert torch.allclose(filled[where] - positions[where], embeddings[:2].flatten(0, 1), atol=1e-6)
    assert not text_encoder.get_input_embeddings()._forward_hooks, "the hook is gone"


def test_batched_is_one_by_one(clip):
    tokenizer, text_encoder = clip
    prompts, embeddings = ["<emotion>", "a <emotion> tree", "a tree", "night <emotion>"], torch.randn(4, 1, 32)
    together = encode(text_encoder, tokenize(tokenizer, prompts, 1), embeddings)
    for row, prompt in enumerate(prompts):
        alone = encode(text_encoder, tokenize(tokenizer, [prompt], 1), embeddings[row : row + 1])
        assert torch.allclose(together[row], alone[0], atol=1e-5)


def test_a_real_words_embedding_in_the_placeholder_gives_that_words_states(clip):
    tokenizer, text_encoder = clip
    word = tokenizer("tree", add_special_tokens=False).input_ids
    embedding = text_encoder.get_input_embeddings().weight[word][None].detach()
    ours = encode(text_encoder, tokenize(tokenizer, ["a photo of a <emotion> in a park"], len(word)), embedding)
    theirs = tokenizer(["a photo of a tree in a park"], padding="max_length", return_tensors="pt").input_ids
    assert torch.allclose(ours, text_encoder(theirs).last_hidden_state, atol=1e-6)


def test_gradients_reach_each_prompts_own_embedding(clip):
    tokenizer, text_encoder = clip
    embeddings = torch.randn(3, 2, 32, requires_grad=True)
    states = encode(text_encoder, tokenize(tokenizer, ["<emotion>", "a tree", "a <emotion> tree"], 2), embeddings)
    (states[2] * torch.randn_like(states[2])).sum().backward()  # not the sum: a layer norm keeps it constant
    assert embeddings.grad[2].abs().sum() > 0
    assert embeddings.grad[:2].abs().sum() == 0


def test_the_hook_is_removed_after_an_error(clip):
    tokenizer, text_encoder = clip
    with pytest.raises(AssertionError, match="one position"):
        encode(text_encoder, tokenize(tokenizer, ["<emotion>"], 1), torch.randn(1, 2, 32))
    assert not text_encoder.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize("eos_rule", ["id", "largest"])
def test_pooled_at_the_end_of_text_is_clips_own(models, eos_rule):
    """Also with eos_token_id 2, as Stable Diffusion 1.5 says, by which transformers pools at the largest id."""
    tokenizer = CLIPTokenizer.from_pretrained(models / "clip")
    text_encoder = CLIPTextModel.from_pretrained(models / "stable_diffusion", subfolder="text_encoder").eval()
    text_encoder.eos_token_id = 2 if eos_rule == "largest" else tokenizer.eos_token_id
    prompts = tokenize(tokenizer, ["a <emotion> tree", "a tree"], 2)
    theirs = []
    text_encoder.register_forward_hook(lambda module, arguments, output: theirs.append(output.pooler_output))
    states = encode(text_encoder, prompts, torch.randn(2, 2, 32))
    assert torch.allclose(pooled(states, prompts), theirs[0])


def test_pooled_at_the_placeholder(clip):
    tokenizer, text_encoder = clip
    prompts = tokenize(tokenizer, ["a <emotion> tree", "a tree"], 2)
    states = encode(text_encoder, prompts, torch.randn(2, 2, 32))
    at = pooled(states, prompts, "placeholder")
    assert torch.equal(at[0], states[0, 3])
    assert torch.equal(at[1], states[1, 3])


def test_where_the_placeholder_may_stand(clip):
    tokenizer, _ = clip
    last = "tree " * 17 + "<emotion>"
    assert tokenize(tokenizer, [last], 1).placeholder[0, 18]
    with pytest.raises(UserError, match="cut off"):
        tokenize(tokenizer, [last], 2)
    with pytest.raises(UserError, match="2 times"):
        tokenize(tokenizer, ["<emotion><emotion>"], 1)
