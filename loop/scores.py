"""What scores images: how likely a network finds the emotion, or the content, that an image was asked to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from config.errors import UserError
from config.loop_settings import Loop
from config.section import from_root
from config.settings import Settings
from config.taxonomy import Taxonomy
from evaluation.networks import clip_network, clip_texts
from loop.reward_file import RewardFile
from runtime.hub import model_digest, network_digest, resolve_model, sha256, weights_digest
from runtime.processes import start_process
from runtime.recipe import RECIPE, digest
from training.caches import square_pixels
from training.choosing import Condition
from training.emotion_encoder import EmotionEncoder
from understanding.asking import load_asker
from understanding.kinds import multiple
from understanding.model import ADAPTER
from understanding.model_check import base_of, check_extras, check_model
from understanding.questions import question_about

CLIP_SCALE = 100.0  # of cosines, at which CLIP's training ends (Radford et al. 2021)
LEAST = 1e-12  # probability, of which a logarithm is taken


class UnderstandingScore:
    """log p(emotion | image) by an understanding model: exact, over all emotions, by one forward pass of an image.

    It is asked a multiple-choice question, for the answer alone, and the same one about all images.
    """

    def __init__(self, settings: Settings, model: str | Path, setting: str = "loop.reward"):
        alone = settings.answers.model_copy(update={"reasoning": False})
        self.taxonomy, self.batch_size = settings.data.taxonomy, settings.loop.score_batch_size
        self.asker = load_asker(settings.understanding, alone, self.taxonomy, model, setting)
        self.question = question_about(multiple, None, self.taxonomy, alone, settings.seed)

    def __call__(self, images: list[Image.Image], conditions: Sequence[Condition]) -> Tensor:
        """Return (n,) log p of what each image was asked to show: for a mix, the mean over its emotions by weight."""
        return of_emotions(self.log_probabilities(images), conditions, self.taxonomy)

    def log_probabilities(self, images: list[Image.Image]) -> Tensor:
        """Return (n, K)."""
        parts = [images[first : first + self.batch_size] for first in range(0, len(images), self.batch_size)]
        found = [self.asker.likelihoods([self.question] * len(part), part, [""] * len(part)) for part in parts]
        return torch.cat(found).float().cpu().clamp(min=LEAST).log()


class EncoderScore:
    """log p(emotion | image) by the emotion encoder of the generator's first stage."""

    def __init__(self, taxonomy: Taxonomy, folder: Path, batch_size: int):
        self.taxonomy, self.batch_size = taxonomy, batch_size
        self.encoder = EmotionEncoder.from_pretrained(folder).to(start_process().device)

    def __call__(self, images: list[Image.Image], conditions: Sequence[Condition]) -> Tensor:
        """Return (n,), as UnderstandingScore does."""
        return of_emotions(self.log_probabilities(images), conditions, self.taxonomy)

    @torch.no_grad()
    def log_probabilities(self, images: list[Image.Image]) -> Tensor:
        """Return (n, K), as UnderstandingScore does."""
        size = self.encoder.sizes["image_size"]
        pixels = torch.stack([square_pixels(image, size, round(size * 8 / 7)) for image in images])
        parts = [self.encoder(part.to(start_process().device))[1] for part in pixels.split(self.batch_size)]
        return torch.cat(parts).float().log_softmax(1).cpu()


class ContentScore:
    """log p(content | image) by CLIP, among "a photo of a {word}" for the contents that a generator knows, and its own."""

    def __init__(self, clip: str, contents: Sequence[str], batch_size: int, others: Sequence[str] = ()):
        """clip: as models.clip names it. others: contents that images are asked for too; none is a rival of another."""
        self.network, self.known, self.batch_size = clip_network(clip), len(contents), batch_size
        self.words = [*contents, *sorted({*others} - {*contents})]
        self.texts = clip_texts(clip, [f"a photo of a {word}" for word in self.words])

    def __call__(self, images: list[Image.Image], conditions: Sequence[Condition]) -> Tensor:
        """Return (n,); 0 for an image without a content, or with one of neither kind."""
        return self.of_contents(self.logits(images), conditions)

    @torch.no_grad()
    def logits(self, images: list[Image.Image]) -> Tensor:
        """Return (n, words)."""
        parts = [images[first : first + self.batch_size] for first in range(0, len(images), self.batch_size)]
        seen = torch.nn.functional.normalize(torch.cat([self.network(part).float().cpu() for part in parts]), dim=1)
        return CLIP_SCALE * seen @ self.texts.T

    def of_contents(self, logits: Tensor, conditions: Sequence[Condition]) -> Tensor:
        """Return (n,) of logits (n, words) the log-probabilities of the contents."""
        places = {word: number for number, word in enumerate(self.words)}
        found = logits.new_zeros(len(logits))
        for number, condition in enumerate(conditions):
            if (own := places.get(condition.content)) is not None:
                rivals = [*range(self.known), *([own] if own >= self.known else [])]
                found[number] = logits[number, own] - logits[number, rivals].logsumexp(0)
        return found


@dataclass(frozen=True)
class Reward:
    """emotion(images) + content_weight · content(images), each (n,)."""

    emotion: UnderstandingScore | EncoderScore | RewardFile
    content: ContentScore | None
    content_weight: float

    def __call__(self, images: list[Image.Image], conditions: Sequence[Condition]) -> Tensor:
        """Return (n,)."""
        found = self.emotion(images, conditions)
        return found + self.content_weight * self.content(images, conditions) if self.content else found


def load_reward(settings: Settings, contents: Sequence[str], others: Sequence[str] = ()) -> Reward:
    """Return the reward of the settings. contents, others: those of ContentScore.

    Raises UserError where it should tell contents apart and there are none.
    """
    loop = settings.loop
    if loop.content_weight and not contents:
        raise UserError(
            "loop.content_weight: the generator knows no contents that it could reward; set loop.content_weight=0"
        )
    sizes = contents, loop.score_batch_size, others
    content = ContentScore(settings.models.clip, *sizes) if loop.content_weight else None
    file = reward_file(loop)
    emotion = RewardFile(file) if file else load_network(settings, loop.reward)
    return Reward(emotion, content, loop.content_weight)


def reward_file(loop: Loop) -> Path | None:
    """Return the file of a reward of the user's own; None where the reward is a network of the run.

    As the name of a model, it counts from the working folder, and else from the project's.
    """
    if not loop.reward.endswith(".py"):
        return None
    places = [Path(loop.reward).expanduser().absolute(), from_root(Path(loop.reward))]
    return next((place for place in places if place.is_file()), places[0])


def load_network(settings: Settings, name: str) -> UnderstandingScore | EncoderScore:
    """Return the run's understanding model, or its emotion encoder, as a score."""
    folder, loop = network_folder(settings.run, settings.loop, name), settings.loop
    if name == "understanding":
        return UnderstandingScore(settings, folder)
    return EncoderScore(settings.data.taxonomy, folder, loop.score_batch_size)


def gate_of(reward: str) -> str:
    """Return the name of the gate: of the two networks that tell emotions one that is not the reward."""
    return "understanding" if reward == "encoder" else "encoder"


def network_folder(run: Path, loop: Loop, name: str) -> Path:
    """Return the folder of a network of the run, or of loop.understanding; raises UserError where it is not there."""
    places = {"understanding": run / "understanding" / "model", "encoder": run / "training" / "emotion_space" / "encoder"}
    if loop.understanding and name == "understanding":
        return Path(resolve_model(loop.understanding))
    if not places[name].is_dir() or (name == "encoder" and not (places[name].parent / RECIPE).is_file()):  # left over
        made_by = {"understanding": "understanding.py", "encoder": "training/main.py, without emotion_space.imported,"}
        raise UserError(f"{places[name]}: is not there; {made_by[name]} makes it")
    return places[name]


def check_reward(settings: Settings) -> None:
    """Raise UserError where the reward cannot be loaded."""
    if file := reward_file(settings.loop):
        RewardFile(file)
    else:
        check_network(settings, settings.loop.reward)


def check_network(settings: Settings, name: str) -> None:
    """Raise UserError where the run's understanding model is not there or not whole, or its emotion encoder is not there."""
    folder = network_folder(settings.run, settings.loop, name)
    if name == "understanding":
        check_extras(settings.understanding)
        check_model(settings.understanding, str(folder), "loop.understanding", download=not settings.check)


def reward_key(settings: Settings) -> str:
    """Return what the reward's numbers depend on, without loading it."""
    loop = settings.loop
    if file := reward_file(loop):
        key = f"{file.name} {sha256(file)[:16]}" if file.is_file() else file.name
    else:
        key = f"{loop.reward} {network_key(settings, loop.reward)}"
    content = f" + {loop.content_weight:g} CLIP {weights_digest(settings.models.clip)}"
    return key + content if loop.content_weight else key


def network_key(settings: Settings, name: str) -> str:
    """Return a hash of what the numbers of a network of the run depend on, without loading it."""
    folder = network_folder(settings.run, settings.loop, name)
    if name == "encoder":
        return weights_digest(str(folder))
    loading = settings.understanding.model_dump(mode="json", include={"dtype", "attention", "four_bit", "max_pixels"})
    base = model_digest(base_of(folder)) if (folder / ADAPTER).is_file() else ""
    return digest([model_digest(str(folder)), base, loading, settings.answers.by, settings.seed])


def networks_in_use(settings: Settings) -> dict[str, str]:
    """Return digests of the networks that the loop trains by, by what they are: those in the reward, and the gate.

    What a reward file of the user's own loads is not known.
    """
    loop = settings.loop
    named = {"the loop's gate": gate_of(loop.reward)}
    if not reward_file(loop):
        named["the loop's reward"] = loop.reward
    found = {what: network_digest(str(network_folder(settings.run, settings.loop, name))) for what, name in named.items()}
    return found | ({"the loop's content score": network_digest(settings.models.clip)} if loop.content_weight else {})


def of_emotions(log_p: Tensor, conditions: Sequence[Condition], taxonomy: Taxonomy) -> Tensor:
    """Return (n,) of log-probabilities (n, K) those of the emotions that images were asked to show, means by weight."""
    wanted = [[condition.weights.get(emotion, 0.0) for emotion in taxonomy.emotions] for condition in conditions]
    weights = torch.tensor(wanted)
    return (log_p * weights).sum(1) / weights.sum(1)
