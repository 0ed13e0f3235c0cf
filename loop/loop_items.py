"""The items of a round: half of them generated, each with its pull, and half real, or for the control all of them real."""

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor
from torch.utils.data import Dataset

from runtime.seeds import derived_seed
from training.mapper_data import MapperItems


class LoopItems(Dataset):
    """Generated and real items in turn; keys are as those of MapperItems. Rows from `generated` on are the real ones."""

    def __init__(self, real: MapperItems, samples: dict[str, Tensor], prompts: Sequence[str], pull: Tensor, loop, seed: int):
        """samples: of N generated images, latents (N, C, h, w) not scaled, vectors (N, dimension), emotions (N,).

        prompts: N, with a placeholder each. pull: (N,), w / β. loop: the section of settings. seed: of this round.
        """
        self.real, self.samples, self.prompts, self.pull = reseeded(real, seed), samples, list(prompts), pull
        self.data_weight, self.seed, self.images = loop.data_weight, seed, range(len(pull) + len(real.images))

    def __len__(self) -> int:
        return 2 * len(self.pull)

    def order(self, epoch: int) -> Tensor:
        """Return the rows in the order in which `epoch` takes them: a generated one, a real one, and so on."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "order", epoch))
        generated = torch.randperm(len(self.pull), generator=generator)
        turns = -(-len(generated) // len(self.real))  # over the real rows, in an epoch
        real = torch.cat([self.real.order(epoch * turns + turn) for turn in range(turns)])
        return torch.stack([generated, len(generated) + real[: len(generated)]], 1).flatten()

    def __getitem__(self, key: tuple[int, int, int]) -> dict:
        epoch, position, row = key
        if row >= len(self.pull):
            item = self.real[epoch, position, row - len(self.pull)]
            return item | {"pull": torch.tensor(1.0), "scale": torch.tensor(2 * self.data_weight)}
        latents = self.samples["latents"][row]
        noise = torch.Generator().manual_seed(derived_seed(self.seed, "generated", epoch, position))
        return {
            "latents": latents,
            "posterior_noise": torch.zeros_like(latents),
            "noise": torch.randn(latents.shape, generator=noise),
            # every second item is generated: they too follow one another in the sequence, and are spread evenly
            "timesteps": torch.tensor(self.real.timestep(epoch, position // 2), dtype=torch.float64),
            "vectors": self.samples["vectors"][row],
            "prompt": self.prompts[row],
            "attributes": torch.tensor(-1),
            "emotions": self.samples["emotions"][row],
            "alpha": torch.tensor(0.0),
            "pull": self.pull[row],
            "scale": torch.tensor(2.0),  # half of the items are generated: the mean over all is the mean over these
        }


def reseeded(real: MapperItems, seed: int, content_share: float | None = None) -> MapperItems:
    """Return the real items with the randomness of another seed, and perhaps another share of prompts with a content."""
    items = copy(real)
    items.seed = seed
    items.content_share = items.content_share if content_share is None else content_share
    return items


def share_of_control(real: MapperItems) -> float:
    """Return the share of prompts that name a content in a batch whose other half is generated, all with a content."""
    return (1 + real.content_share) / 2 if real.content_share else 0.0
