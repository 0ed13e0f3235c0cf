"""The images of a round: groups of the same emotion and content, made, seen by reward and gate, and kept in batches."""

from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from config.generation_settings import CONTENT, CONTENT_PROMPT, PLACEHOLDER, Generate
from loop.nft import advantages, agreement, signed_weights
from loop.scores import EncoderScore, Reward, UnderstandingScore
from runtime.kept_batches import kept_batches
from runtime.recipe import Recipe, settings_of
from runtime.seeds import derived_seed
from training.choosing import Condition
from training.image_files import strength_of
from training.pipeline import EmotionPipeline

READ = {"strength", "spread", "steps", "guidance_scale", "negative_prompt"}  # settings of generate that images follow from


@dataclass(frozen=True)
class Candidates:
    """N = C · G images of C conditions, group after group.

    tensors: latents (N, C, h, w) not scaled, vectors (N, dimension), emotions (N,), and of each image reward, its part
    `felt` that is about the emotion, and gate, all (N,).
    """

    conditions: list[Condition]
    prompts: list[str]
    tensors: dict[str, Tensor]
    group: int

    def of(self, name: str) -> Tensor:
        """Return a number of each image by group (C, G)."""
        return self.tensors[name].view(-1, self.group)

    def agreed(self) -> Tensor:
        """Return (C, G) whether the gate agrees with the reward about the emotion."""
        return agreement(self.of("felt"), self.of("gate"))

    def weights(self) -> Tensor:
        """Return the signed weights (N,) of the images, in float32, as losses take them; a reward file gives float64."""
        return signed_weights(advantages(self.of("reward")), self.agreed()).flatten().float()


def conditions_of(pipe: EmotionPipeline, count: int, seed: int) -> list[Condition]:
    """Return so many conditions: the emotions in turn, each on a content drawn from p(attribute | emotion), if there are."""
    emotions, found = pipe.emotion_space.emotions, []
    for number in range(count):
        emotion = emotions[number % len(emotions)]
        content = pipe.contents.of_image(emotion, derived_seed(seed, "content", number)) if pipe.contents else None
        prompt = CONTENT_PROMPT.replace(CONTENT, content) if content else PLACEHOLDER
        found.append(Condition(emotion, prompt, content))
    return found


def make_candidates(
    pipe: EmotionPipeline,
    key: list,
    generate: Generate,
    conditions: list[Condition],
    group: int,
    reward: Reward,
    gate: UnderstandingScore | EncoderScore,
    folder,
    seed: int,
    what: str,
    resolution: int | None,
) -> Candidates:
    """Make `group` images of each condition, and see them by reward and gate. All processes call it together.

    key: what pipe, reward and gate are. resolution: of the images, in pixels; None: the model's own. Kept below `folder`, so
    a killed run resumes, and many processes make what one does.
    """
    rows = [(each, derived_seed(seed, number, turn)) for number, each in enumerate(conditions) for turn in range(group)]
    size, left_out = generate.batch_size, set(Generate.model_fields) - READ
    recipe = Recipe(
        "candidates",
        settings_of("generate", generate, left_out),
        {"seed": seed, "conditions": [str(each) for each in conditions], "group": group, "key": key, "batch": size}
        | {"resolution": resolution},
    )

    def make(number: int) -> bytes:
        some = rows[number * size : (number + 1) * size]
        return save(
            {name: value.contiguous() for name, value in _made(pipe, generate, some, reward, gate, resolution).items()}
        )

    files = kept_batches(folder, recipe, -(-len(rows) // size), ".safetensors", make, what)
    parts = [load_file(file) for file in files]
    tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    asked = [condition for condition, _ in rows]
    return Candidates(asked, [each.prompt for each in asked], tensors, group)


@torch.no_grad()
def _made(
    pipe: EmotionPipeline, generate: Generate, rows: list, reward: Reward, gate, resolution: int | None
) -> dict[str, Tensor]:
    conditions, seeds = [condition for condition, _ in rows], [seed for _, seed in rows]
    emotions = [condition.emotion for condition in conditions]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    dimension = pipe.emotion_space.config.dimension
    noise = torch.stack(
        [torch.randn(dimension, generator=torch.Generator().manual_seed(derived_seed(each, "vector"))) for each in seeds]
    )
    latents = pipe(
        prompt=[condition.prompt for condition in conditions],
        emotion=emotions,
        emotion_strength=strength_of(conditions[0].prompt, generate.strength),
        emotion_spread=generate.spread,
        emotion_noise=noise,
        generator=generators,
        negative_prompt=generate.negative_prompt,
        num_inference_steps=generate.steps,
        guidance_scale=generate.guidance_scale,
        height=resolution,
        width=resolution,
        output_type="latent",
    ).images
    plain = latents / pipe.vae.config.scaling_factor
    images = pipe.image_processor.postprocess(pipe.vae.decode(plain, return_dict=False)[0].detach(), output_type="pil")
    felt = reward.emotion(images, conditions)
    shown = reward.content_weight * reward.content(images, conditions) if reward.content else 0.0
    return {
        "latents": plain.float().cpu(),
        "vectors": pipe._emotion_vectors(emotions, generate.spread, noise, None).float().cpu(),
        "emotions": torch.tensor([pipe.emotion_space.emotions.index(emotion) for emotion in emotions]),
        "felt": felt,
        "reward": felt + shown,
        "gate": gate(images, conditions),
    }
