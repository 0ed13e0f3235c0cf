"""The items that the mapper is trained on. All that is random about an item follows from (seed, epoch, position)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from config.generation_settings import CONTENT, CONTENT_PROMPT, PLACEHOLDER
from runtime.machine import processors
from runtime.seeds import derived_seed
from training.conditioning import TokenizedPrompts, tokenize
from training.emotion_space import EmotionSpace
from training.shards import first_whole, with_plain_errors

GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Batch:
    """A batch of B items.

    latents: (B, C, h, w) scaled; or, without a cache, None, and pixels (B, 3, H, W) uint8, posterior_noise (B, C, h, w).
    noise: (B, C, h, w). timesteps: (B,). vectors: (B, dimension) emotion vectors. prompts: with a placeholder each.
    attributes: (B,) rows of the attributes that the attribute loss compares, -1 for any other. emotions: (B,) labels.
    alpha: (B,) emotion confidences. pull, scale: (B,), of the loop's items alone (loop/nft.py).
    """

    latents: torch.Tensor | None
    pixels: torch.Tensor | None
    posterior_noise: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    vectors: torch.Tensor
    prompts: TokenizedPrompts
    attributes: torch.Tensor
    emotions: torch.Tensor
    alpha: torch.Tensor
    pull: torch.Tensor | None = None
    scale: torch.Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return it on `device`; from pinned memory a GPU copies it while it computes what came before."""
        move = {"device": device, "non_blocking": True}
        there = {name: value.to(**move) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, **there, prompts=self.prompts.to(device))

    def pin_memory(self) -> "Batch":
        """Return it in memory from which a GPU copies while it computes: what a DataLoader calls."""
        pinned = {name: value.pin_memory() for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, **pinned, prompts=self.prompts.pin_memory())


class MapperItems(Dataset):
    """The balanced set as items for training; the key of an item is (epoch, position in that epoch's order)."""

    def __init__(
        self,
        rows: pd.DataFrame,
        images: Sequence[dict[str, torch.Tensor]],
        image_ids: list[str],
        vectors: torch.Tensor | None,
        space: EmotionSpace,
        names: list[str],
        alpha: np.ndarray,
        latent_shape: tuple[int, int, int],
        content_share: float,
        seed: int,
        mirrored_vectors: bool = True,
    ):
        """rows: the balanced set.

        images[i]: the moments, or the pixels, of image_ids[i] (training/caches.py).
        vectors: (images, 2, dimension), each image's own emotion vector and that of its mirror image; None: vectors are
        drawn from the emotion's Gaussian in `space` instead. names: the attributes that the attribute loss compares.
        alpha: (rows,) emotion confidences. latent_shape: (C, h, w). mirrored_vectors: a mirrored image has the vector of its
        mirror image, and else its own.
        """
        place = {image_id: number for number, image_id in enumerate(image_ids)}
        self.images, self.vectors, self.space = images, vectors, space
        self.alpha, self.latent_shape, self.content_share, self.seed = alpha, latent_shape, content_share, seed
        self.image_of_row = [place[image_id] for image_id in rows["image_id"]]
        self.emotions = [space.emotions.index(emotion) for emotion in rows["emotion"]]
        row_of = {name: number for number, name in enumerate(names)}
        self.attributes = rows["attribute"].tolist()
        self.targets = [row_of.get(attribute, -1) for attribute in self.attributes]
        self.names, self.mirrored_vectors = names, mirrored_vectors

    def __len__(self) -> int:
        return len(self.emotions)

    def order(self, epoch: int) -> torch.Tensor:
        """Return the rows in the order in which `epoch` takes them."""
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(derived_seed(self.seed, "order", epoch)))

    def timestep(self, epoch: int, position: int) -> float:
        """Return the share of all timesteps, 0 to below 1, at which an item is noised.

        Items that follow one another are spread evenly (a Kronecker sequence from a random start), so that an update sees
        all noise levels and its gradient varies less (as in Kingma et al. 2021, Variational Diffusion Models).
        """
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "timesteps", epoch))
        return (torch.rand((), generator=generator, dtype=torch.float64).item() + position * GOLDEN) % 1

    def __getitem__(self, key: tuple[int, int, int]) -> dict:
        epoch, position, row = key
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "item", epoch, position))
        mirrored = int(torch.rand((), generator=generator) < 0.5)
        names_content = bool(torch.rand((), generator=generator) < self.content_share)
        posterior_noise, noise = torch.randn((2, *self.latent_shape), generator=generator)
        rows = ((row + turn) % len(self) for turn in range(len(self)))  # an image that broke gives way to the next draw
        row, item = first_whole(rows, lambda row: self.images[self.image_of_row[row]])
        emotion, image = self.emotions[row], self.image_of_row[row]
        if self.vectors is None:
            weights = torch.eye(len(self.space.emotions))[emotion][None]
            vector = self.space.sample(weights, torch.randn((1, self.space.config.dimension), generator=generator))[0]
        else:
            vector = self.vectors[image, mirrored if self.mirrored_vectors else 0]
        if "mean" in item:
            seen = {"latents": item["mean"][mirrored].float() + item["std"][mirrored].float() * posterior_noise}
        else:
            seen = {"pixels": item["pixels"].flip(2) if mirrored else item["pixels"]}
        return seen | {
            "posterior_noise": posterior_noise,
            "noise": noise,
            "timesteps": torch.tensor(self.timestep(epoch, position), dtype=torch.float64),
            "vectors": vector,
            "prompt": CONTENT_PROMPT.replace(CONTENT, self.attributes[row]) if names_content else PLACEHOLDER,
            "attributes": torch.tensor(self.targets[row]),
            "emotions": torch.tensor(emotion),
            "alpha": torch.tensor(0.0 if names_content else self.alpha[row], dtype=torch.float32),
        }


@dataclass(frozen=True)
class Share:
    """How a global batch is shared out: update u takes the positions from u times `total` on, in micro-batches."""

    batch_size: int
    accumulation: int
    processes: int
    process: int

    @property
    def total(self) -> int:
        return self.batch_size * self.accumulation * self.processes

    def micro_batches(self, update: int) -> Iterator[range]:
        """Yield the positions of this process's micro-batches of an update."""
        for turn in range(self.accumulation):
            start = update * self.total + (turn * self.processes + self.process) * self.batch_size
            yield range(start, start + self.batch_size)


def batches(
    items: MapperItems,
    share: Share,
    first: int,
    last: int,
    tokenizer,
    tokens: int,
    timesteps: int,
    scaling: float,
    loaders: int,
) -> Iterator[Batch]:
    """Yield this process's micro-batches of the updates `first` to `last` - 1; epochs follow each other.

    timesteps: how many the noise schedule has. scaling: the VAE's scaling factor. loaders: processes that load items.
    """
    per_epoch = len(items) // share.total

    def keys():
        epoch, order = None, None
        for update in range(first, last):
            if epoch != update // per_epoch:
                epoch = update // per_epoch
                order = items.order(epoch).tolist()
            for positions in share.micro_batches(update % per_epoch):
                yield [(epoch, position, order[position]) for position in positions]

    collate = partial(_collate, tokenizer=tokenizer, tokens=tokens, timesteps=timesteps, scaling=scaling)
    own = torch.Generator()  # else the loader draws from the global one, which dropout uses
    how = {"num_workers": min(loaders, processors()), "pin_memory": torch.cuda.is_available(), "generator": own}
    return with_plain_errors(DataLoader(items, batch_sampler=keys(), collate_fn=collate, **how))


def _collate(items: list[dict], tokenizer, tokens: int, timesteps: int, scaling: float) -> Batch:
    stacked = {name: torch.stack([item[name] for item in items]) for name in items[0] if name != "prompt"}
    latents = stacked.pop("latents", None)
    return Batch(
        **stacked | {"timesteps": (stacked["timesteps"] * timesteps).long()},
        **({} if "pixels" in stacked else {"pixels": None}),
        latents=None if latents is None else latents * scaling,
        prompts=tokenize(tokenizer, [item["prompt"] for item in items], tokens),
    )
