"""A round of the loop: images of a generator, scored; the next generator, trained on them; the gate's word on that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from scipy.stats import spearmanr

from config.settings import Settings
from emoset.reading import EmoSet
from evaluation.metric_labels import signed
from loop.apart import seen_by
from loop.candidates import Candidates, conditions_of, make_candidates
from loop.loop_items import LoopItems, reseeded, share_of_control
from loop.nft import module_from
from loop.scores import gate_of, load_network, load_reward, network_key, reward_key
from loop.teaching import BEFORE, TAUGHT, teach
from runtime.hub import weights_digest
from runtime.processes import free_memory
from runtime.recipe import settings_of
from runtime.run_folder import log
from runtime.seeds import derived_seed
from runtime.tensors import tensor_digest
from training.accelerator import start_accelerator
from training.main import load_stable_diffusion
from training.mapper_data import MapperItems
from training.mapper_training import MapperInputs, train_mapper
from training.sampling import load_generator

HELD_OUT = "held out"
WARMUP = 0.25  # of the updates of a round, whose optimizer begins anew
TRAINED = {
    "reward",
    "content_weight",
    "conditions",
    "group",
    "trains",
    "updates",
    "learning_rate",
    "beta",
    "data_weight",
    "ema",
}


@dataclass(frozen=True)
class Rounds:
    """What the rounds share.

    start: the folder of the generator that they begin with. inputs: of its own training. emoset: what understanding is
    taught by, where it is.
    """

    settings: Settings
    folder: Path
    start: Path
    inputs: MapperInputs
    emoset: EmoSet | None = None

    def sample(self, generator: Path, what: str, count: int, group: int) -> Candidates:
        """Return images of a generator's folder, `group` of each of `count` conditions that follow from `what`."""
        settings, device = self.settings, self.inputs.accelerator.device
        pipe, about = load_generator(generator, device)
        seed = derived_seed(settings.seed, "loop", what)
        names = pipe.contents.names if pipe.contents else ()
        reward, gate = load_reward(settings, names), load_network(settings, gate_of(settings.loop.reward))
        networks = [about["generator_hash"], reward_key(settings), network_key(settings, gate_of(settings.loop.reward))]
        asked = conditions_of(pipe, count, seed)
        found = make_candidates(
            pipe,
            networks,
            settings.generate,
            asked,
            group,
            reward,
            gate,
            self.folder / "candidates",
            seed,
            what,
            about["resolution"],
        )
        del pipe, reward, gate
        free_memory()
        return found

    def train(
        self,
        home: Path,
        generator: Path,
        items: Callable[[MapperItems], object],
        number: int,
        generated: Sequence[str] = (),
    ) -> Path:
        """Return the generator's folder in `home`, trained from another one on items made of the real ones.

        generated: digests of the generated images among the items, of what was found of them, and of their pull.
        """
        settings, loop, inputs = self.settings, self.settings.loop, self.inputs
        made = items(inputs.items)
        processes = inputs.accelerator.num_processes
        changed = {
            "epochs": -(-loop.updates // (len(made) // (loop.batch_size * processes))),
            "max_train_steps": loop.updates,
            "batch_size": loop.batch_size,
            "gradient_accumulation": 1,
            "learning_rate": loop.learning_rate,
            "schedule": "constant",
            "warmup_steps": round(loop.updates * WARMUP),
            "ema": loop.ema,
            "attribute_weight": 0.0,
            "emotion_weight": 0.0,
            "attributes": None,
            "alpha_discount": False,
            "sample_every": None,
            "push_to_hub": None,
            "compile": False,  # the old predictions come from the same module by other weights
        }
        own = settings.model_copy(update={"mapper": settings.mapper.model_copy(update=changed)})
        made_from = inputs.made_from | {
            "generator": weights_digest(str(generator / "mapper")),
            "loop": [settings_of("loop", loop, set(type(loop).model_fields) - TRAINED), reward_key(settings), number],
            "generated images": list(generated),
        }
        stable = load_stable_diffusion(settings.models.stable_diffusion, inputs.accelerator)
        round_inputs = replace(
            inputs,
            items=made,
            stable=stable,
            texts=None,
            classifier=None,
            made_from=made_from,
            seen=seen_by(settings, generator),
        )
        train_mapper(own, home, round_inputs, home / "generator", module_from(generator, loop))
        inputs.accelerator.free_memory()
        free_memory()
        return home / "generator"

    def round(self, number: int, generator: Path) -> tuple[Path, dict]:
        """Return the generator after a round of DiffusionNFT, and what is known of the round."""
        loop, seed = self.settings.loop, derived_seed(self.settings.seed, "loop round", number)
        found = self.sample(generator, f"round {number}", loop.conditions, loop.group)
        pull, prompts, samples = found.weights() / loop.beta, found.prompts, found.tensors
        trained = self.train(
            self.folder / f"round_{number}",
            generator,
            lambda real: LoopItems(real, samples, prompts, pull, loop, seed),
            number,
            [tensor_digest(each) for each in (*samples.values(), pull)],
        )
        return trained, told(found)

    def taught(self, number: int, generator: Path) -> tuple["Rounds", dict]:
        """Return the rounds that follow, with the understanding model that a generator's images taught, if it is better.

        It is if the interval of its gain on the val split lies above 0. The dict says what it gains.
        """
        settings, precision = self.settings, self.inputs.accelerator.mixed_precision
        of_val = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"split": "val"})})
        torch.set_float32_matmul_precision("highest")  # as understanding.py computes; the accelerator sets its own again
        taught = teach(of_val, self.emoset, generator, self.folder / f"teaching_{number}", (TAUGHT,), number)
        AcceleratorState._reset_state()  # transformers' trainer has made it anew, in its own precision
        inputs = replace(self.inputs, accelerator=start_accelerator(precision))
        mapper = settings.mapper.model_copy(update={"mixed_precision": precision})
        settings = settings.model_copy(update={"mapper": mapper})
        if taught is None:
            log.info("no generated image serves, so nothing was taught")
            return replace(self, settings=settings, inputs=inputs), {"taught by": 0}
        models, found = taught
        gain = found["paired"][f"{TAUGHT} - {BEFORE}"]["accuracy"]
        is_better = gain["low"] > 0
        served, ends = found["about"]["served"], "it rewards the next round" if is_better else "the one before stays"
        log.info(f"understanding, taught by {served:,} images of round {number}: {signed(gain)} on val; {ends}")
        if is_better:
            loop = settings.loop.model_copy(update={"understanding": str(models[TAUGHT])})
            settings = settings.model_copy(update={"loop": loop})
        told = {"taught by": served, "taught, gain on val": gain["value"], "taught, is better": is_better}
        return replace(self, settings=settings, inputs=inputs), told

    def control_round(self, number: int, generator: Path) -> Path:
        """Return the generator after as many updates by the ordinary loss on real images alone."""
        seed, home = derived_seed(self.settings.seed, "loop control", number), self.folder / "control" / f"round_{number}"
        return self.train(home, generator, lambda real: reseeded(real, seed, share_of_control(real)), number)

    def held_out(self, generator: Path) -> torch.Tensor:
        """Return the gate's log p of the emotion (n,) of images of a generator that no round trains on."""
        return self.sample(generator, HELD_OUT, self.settings.loop.held_out, 1).tensors["gate"]


def told(found: Candidates) -> dict:
    """Return what is known of a round's images, in numbers."""
    return {
        "images": len(found.tensors["reward"]),
        "reward": found.tensors["reward"].mean().item(),
        "gate": found.tensors["gate"].mean().item(),
        "agreement": found.agreed().float().mean().item(),
        "rank correlation of reward and gate": rank_correlation(found.of("felt"), found.of("gate")),
    }


def rank_correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return Spearman's rank correlation within a condition (C, G), averaged over those in which both differ at all."""
    rows = zip(first.tolist(), second.tolist(), strict=True)
    found = [float(spearmanr(*both).statistic) for both in rows if all(len(set(each)) > 1 for each in both)]
    return sum(found) / len(found) if found else 0.0


def is_worse(now: torch.Tensor, best: torch.Tensor) -> bool:
    """Tell whether the gate's log p of the same conditions and noise (n,) fell by more than twice its standard error."""
    apart = best - now
    fell = (apart.mean() > 2 * apart.std() / len(apart) ** 0.5).item()
    if fell:
        log.info(f"the gate's log p of held-out images fell by {apart.mean():.3f}: the rounds end here")
    return fell
