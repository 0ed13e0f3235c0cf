"""How the demo's tiny Qwen2.5-VL learns to answer: the questions, their answers, and the loss."""

from random import Random

import pandas as pd
import torch
import torch.nn.functional as F
from transformers import ProcessorMixin, Qwen2_5_VLForConditionalGeneration

from config.understanding_settings import Answers, Questions
from demo.drawn.world import EMOTIONS, TAXONOMY
from demo.making.content_questions import NAMES, ask_content, completion, draw_guess, guess_answer, truths
from demo.making.small_models import Images, Loss
from demo.making.small_vlm import IMAGE_TOKENS, KINDS, grid, look
from understanding import kinds
from understanding.model import conversation
from understanding.question import Question
from understanding.questions import draw_questions

QUESTIONS_PER_IMAGE = 2  # or up to twice as many: comparisons come in pairs
REASONED = 0.3  # share of the questions that are answered with reasoning
SLIPS = 0.05  # share of the answers that are not in the format asked for: something for GRPO to fix


class Answering(torch.nn.Module):
    """The whole model, and a linear layer that tells of each name in a question whether it is that of the image.

    It reads the language model's states halfway up, where the name stands. From right answers alone a model this small
    does not learn to compare what it sees with what it is asked; from this it does within minutes, and answers follow.
    """

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration):
        super().__init__()
        self.model, self.probe = model, torch.nn.Linear(model.config.text_config.hidden_size, 1)

    @property
    def device(self) -> torch.device:
        return self.model.device


def answer_loss(contents: Images, emotions: Images, processor: ProcessorMixin, seed: int, guesses: int) -> Loss:
    """Return the cross-entropy of answers, and of what `Answering` tells of names, shown and not shown in equal shares.

    There are QUESTIONS_PER_IMAGE about the content of each image, and for each of these images one about the emotion of
    each of `guesses` others, which is answered by a guess.
    """
    ask_about = {reasoning: emotion_questions(emotions, reasoning, seed) for reasoning in (True, False)}

    def loss(answering, rows):
        rng = Random(torch.initial_seed())
        chats, shown, names = [], [], []
        for place, row in enumerate(rows.tolist()):
            cues = contents.cues[row]
            for _ in range(QUESTIONS_PER_IMAGE):
                reasoning = rng.random() < REASONED
                for question in ask_content(cues, rng, reasoning):
                    chats.append((question.prompt, _said(cues, question.answer, reasoning, rng)))
                    shown.append(place)
                    names.append(truths(cues))
        felt = []
        for place in range(guesses * len(rows)):
            reasoning = rng.random() < REASONED
            question = rng.choice(ask_about[reasoning])
            felt.append(int(question.image_id))
            cues = emotions.cues[felt[-1]]
            chats.append((question.prompt, _said(cues, guess_answer(question, cues, rng), reasoning, rng)))
            shown.append(len(rows) + place)
            felt_emotion = draw_guess(cues, rng)
            names.append({emotion: emotion == felt_emotion for emotion in EMOTIONS})
        device = answering.device
        images = torch.cat([contents.batch(rows, device), emotions.batch(torch.tensor(felt), device)])
        seen = look(answering.model.model.visual, images)[shown]
        answered, compared = answer_cross_entropy(answering, processor, seen, chats, names)
        return answered + compared

    return loss


def answer_cross_entropy(
    answering: Answering,
    processor: ProcessorMixin,
    seen: torch.Tensor,
    chats: list[tuple[str, str]],
    names: list[dict[str, bool]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean cross-entropy of the tokens of answers, their end's with them, and that of names in the questions.

    The first is what the model's own forward pass gives, but that an image is looked at once for all its questions.
    seen: what `look` gave, (n, IMAGE_TOKENS, width). chats: n pairs of a question and its answer. names: for each of them,
    which names are those of what the image shows, or of a guess at its emotion, and which are not.
    """
    model, tokenizer = answering.model, processor.tokenizer
    before, after = processor.apply_chat_template(conversation("\0"), add_generation_prompt=True).split("\0")
    before = before.replace(processor.image_token, processor.image_token * IMAGE_TOKENS)
    prompts = tokenizer([before + prompt + after for prompt, _ in chats]).input_ids
    answers = tokenizer([answer + tokenizer.eos_token for _, answer in chats]).input_ids
    known = [*EMOTIONS, *(name for kind in NAMES.values() for name in kind.values())]
    spelled = {name: tokenizer(f" {name}").input_ids for name in known}
    lengths = torch.tensor([len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)])
    total, probed, true = 0, [], []
    for some in lengths.argsort().split(-(-len(chats) // 4)):  # of like length, for little padding
        ids = torch.full((len(some), lengths[some].max()), tokenizer.pad_token_id)
        labels = torch.full_like(ids, -100)
        named = []
        for row, place in enumerate(some.tolist()):
            start, end = len(prompts[place]), lengths[place]
            ids[row, :end] = torch.tensor(prompts[place] + answers[place])
            labels[row, start:end] = ids[row, start:end]
            ends = last_tokens(prompts[place], {name: spelled[name] for name in names[place]})
            named += [(row, column, names[place][name]) for column, name in ends.items()]
        ids, labels = ids.to(model.device), labels.to(model.device)
        is_image = ids == model.config.image_token_id  # in the same places of every row, so that positions are alike
        embedded = model.get_input_embeddings()(ids).masked_scatter(is_image[..., None], seen[some])
        positions, _ = model.model.get_rope_index(ids[:1], is_image[:1].int(), image_grid_thw=grid(1).to(model.device))
        language = model.model.language_model
        out = language(
            inputs_embeds=embedded,
            position_ids=positions.expand(3, len(some), -1),
            use_cache=False,
            output_hidden_states=True,
        )
        answered = labels[:, 1:] != -100
        logits = model.lm_head(out.last_hidden_state[:, :-1][answered])
        total = total + F.cross_entropy(logits, labels[:, 1:][answered], reduction="sum")
        if named:
            rows, columns, is_shown = (torch.tensor(each, device=model.device) for each in zip(*named, strict=True))
            probed.append(answering.probe(out.hidden_states[len(language.layers) // 2][rows, columns])[:, 0])
            true.append(is_shown)
    probed, true = torch.cat(probed), torch.cat(true)
    compared = (F.softplus(-probed[true]).mean() + F.softplus(probed[~true]).mean()) / 2
    return total / sum(map(len, answers)), compared


def last_tokens(ids: list[int], spelled: dict[str, list[int]]) -> dict[int, str]:
    """Return where names end in a text: {place: name}; of "amusement park" it is not "park" that ends there."""
    found = {}
    for name, tokens in sorted(spelled.items(), key=lambda each: -len(each[1])):
        for end in range(len(tokens), len(ids) + 1):
            if ids[end - len(tokens) : end] == tokens:
                found.setdefault(end - 1, name)
    return found


def emotion_questions(images: Images, reasoning: bool, seed: int) -> list[Question]:
    """Draw questions about the emotion of images; an image_id is a row's number."""
    rows = pd.DataFrame(dict(image_id=[str(row) for row in range(len(images.emotions))], emotion=images.emotions))
    shares = {kind.NAME: float(kind in KINDS) for kind in kinds.KINDS}
    questions = Questions(count=len(rows), confusable_share=0, **shares)
    return draw_questions(rows, TAXONOMY, questions, Answers(reasoning=reasoning), None, seed)


def _said(cues, answer: str, reasoning: bool, rng: Random) -> str:
    return completion(cues, answer, reasoning != (rng.random() < SLIPS))
