"""What the loop is worth, by a judge that it has never seen: rows of images that start from the same noise, in pairs.

untouched        the generator that the loop starts from
best of N        of the untouched generator's images, the one that the reward likes best: the first N of the same; and the
                 one that the gate likes best
control          after as many updates by the ordinary loss
reward           after the rounds, one image each
reward, best of  both together
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save

from config.generation_settings import CONTENT, CONTENT_PROMPT, PLACEHOLDER
from config.settings import Settings
from emoset.images import load_image
from evaluation import image_metrics, plans
from evaluation.columns import Comparison, by_emotion
from evaluation.content_judge import CLIP, judges_of
from evaluation.features import FeatureCache, Network, feature_cache, image_keys
from evaluation.judge import load_judge
from evaluation.measure_generation import images_of_emoset, load_comparison
from evaluation.metric_labels import signed
from evaluation.viewers import load_viewers
from evaluation.views import Views
from loop.reward_file import RewardFile
from loop.rounds import rank_correlation
from loop.scores import gate_of, load_network, load_reward, network_key, of_emotions, reward_key
from runtime.figures import of_mean
from runtime.files import write_json
from runtime.hub import weights_digest
from runtime.kept_batches import kept_batches
from runtime.processes import start_process
from runtime.recipe import Recipe, digest
from runtime.run_folder import is_first_process, log
from runtime.seeds import derived_seed
from training.choosing import Condition, candidate_seed
from training.generator_parts import GENERATOR, read_about
from training.sampling import load_generator, make_images, sample

SHOWN = ("joint_accuracy", "emotion_accuracy", "content_accuracy", "semantic_clarity", "attribute_entropy", "kid", "reward")


class Measure:
    """Makes and measures rows of images; every process calls each method."""

    def __init__(self, settings: Settings, folder: Path, start: Path):
        """start: the folder of the untouched generator, whose contents the reward tells apart, as in training."""
        evaluate = settings.evaluate.model_copy(update={"judge": settings.loop.judge, "generated": settings.loop.images})
        self.settings, self.folder = settings.model_copy(update={"evaluate": evaluate}), folder / "images"
        self.cache: FeatureCache = feature_cache(settings.data, evaluate, settings.machine.processes)
        train, self.real, reference, everything, _ = images_of_emoset(self.settings, folder)
        viewers = load_viewers(evaluate, settings.models.clip, self.cache)
        self.see = viewers.views
        emotions = settings.data.taxonomy.emotions
        self.judge = load_judge(settings.loop.judge, settings.models.clip, train, emotions, self.cache, "loop.judge")
        self.comparison: Comparison
        self.comparison, _ = load_comparison(self.settings, viewers, train, reference, everything)
        counted = read_about(start / GENERATOR).get("contents") or {}
        self.reward = load_reward(settings, sorted({name for own in counted.values() for name in own}))
        self.gate = load_network(settings, gate_of(settings.loop.reward))
        self.tables: dict[str, pd.DataFrame] = {}
        self.views: dict[str, Views] = {}
        self.judged: dict[str, np.ndarray] = {}
        self.distances: dict[str, tuple[torch.Tensor, ...]] = {}  # of the rows that are compared

    def make(self, row: str, generator: Path, turns: int = 1, **changed) -> None:
        """Make `turns` candidates for every image of a row, and see them. changed: settings of generate."""
        settings, emotions = self.settings, self.settings.data.taxonomy.emotions
        generate = settings.generate.model_copy(update=changed)
        pipe, about = load_generator(generator, start_process().device)
        prompt = CONTENT_PROMPT if pipe.contents else PLACEHOLDER
        acting = {"strength": generate.strength, "spread": generate.spread}
        seed = derived_seed(settings.seed, "loop", settings.evaluate.split)  # what val chose must not meet test's noise
        own = plans.emotion_plan(row, prompt, pipe.contents, emotions, settings.loop.images, acting, seed)
        shared = {"steps": generate.steps, "guidance_scale": generate.guidance_scale} | about
        shared |= {"negative_prompt": generate.negative_prompt}
        plan = {
            f"{row}/{turn}/{path.partition('/')[2]}": each | shared | {"seed": candidate_seed(each["seed"], turn)}
            for turn in range(turns)
            for path, each in own.items()
        }
        make_images(pipe, plan, self.folder, generate.batch_size, row)
        table = plans.as_table(plan, self.folder)
        table["turn"] = np.repeat(np.arange(turns), len(own))
        table["image_id"] = [f"{row}/{path.partition('/')[2].partition('/')[2]}" for path in plan]
        table["prompt"] = [each["prompt"].replace(CONTENT, each.get("content", "")) for each in plan.values()]
        conditions = asked_of(table)
        table["reward"] = self._felt(table, row, conditions).numpy()
        if self.reward.content:
            seen = self._seen("content", self.reward.content, table, row)
            table["reward"] += self.reward.content_weight * self.reward.content.of_contents(seen, conditions).numpy()
        gate = of_emotions(self._seen("gate", self.gate, table, row), conditions, settings.data.taxonomy)
        table["gate"] = gate.numpy()
        self.tables[row], self.views[row] = table, self.see(table, row)
        self.judged[row] = self.judge(table, f"judging {row}")
        if self.reward.content:
            self._warn_of_clip(row)

    def _warn_of_clip(self, row: str) -> None:
        """Log which contents of a row CLIP judges, which the reward consists of too."""
        seen = self.views[row]
        judges = judges_of(seen.images["content"].to_numpy(), seen.object_labels, seen.scene_labels)
        if words := sorted(word for word, judge in judges.items() if word and judge == CLIP):
            told = ", ".join(words[:5]) + (", ..." if words[5:] else "")
            log.info(f"warning: {row}: no classifier knows {told}, so CLIP judges them, which is in the reward too")

    def _felt(self, table: pd.DataFrame, row: str, conditions: list[Condition]) -> torch.Tensor:
        """Return the reward's part (n,) that is about the emotion."""
        if isinstance(self.reward.emotion, RewardFile):
            size, paths, what = self.settings.loop.score_batch_size, list(table["path"]), f"{row}, reward"
            count, folder = -(-len(paths) // size), self.folder.parent / "rewards"
            seen = {"images": digest(image_keys(table)), "conditions": digest(list(map(str, conditions)))}
            recipe = Recipe("rewards", {}, seen | {"reward": reward_key(self.settings), "batch": size})

            def score(number: int) -> bytes:
                part = slice(number * size, (number + 1) * size)
                return save({"rewards": self.reward.emotion([load_image(path) for path in paths[part]], conditions[part])})

            files = kept_batches(folder, recipe, count, ".safetensors", score, what)
            return torch.cat([load_file(file)["rewards"] for file in files])
        return of_emotions(self._seen("reward", self.reward.emotion, table, row), conditions, self.settings.data.taxonomy)

    def _seen(self, what: str, score, table: pd.DataFrame, row: str) -> torch.Tensor:
        """Return the log-probabilities (n, ...) that a score gives the images of a table."""
        loop = self.settings.loop
        name = {"reward": loop.reward, "gate": gate_of(loop.reward)}.get(what)
        if name:
            key = network_key(self.settings, name)
        else:
            key = f"{weights_digest(self.settings.models.clip)} {digest(score.words)}"
        network = Network(f"loop {name or what} {key}", score.log_probabilities if name else score.logits)
        return self.cache.features_of(network, table.assign(image_id=table["path"].astype(str)), f"{row}, {what}")

    def keep_best(self, row: str, made: str, number: int, by: str = "reward") -> None:
        """Let a row be the best, by reward or gate, of the first `number` candidates of the row `made`."""
        table = self.tables[made]
        first = table[table["turn"] < number]
        best = first.loc[first.groupby("image_id", sort=False)[by].idxmax()].index.to_numpy()
        chosen = np.zeros(len(table), dtype=bool)
        chosen[best] = True
        self.views[row], self.judged[row] = self.views[made].of(chosen), self.judged[made][chosen]
        self.tables[row] = table[chosen].reset_index(drop=True)

    def figures(self, row: str) -> dict[str, dict]:
        """Return the figures of a row."""
        seen, judged, comparison = self.views[row], self.judged[row], self.comparison
        found = comparison.corrected(seen, judged)
        shown = image_metrics.attributes_shown(seen.objects, seen.scenes)
        every = by_emotion(judged, shown, seen.emotions, comparison.taxonomy, comparison.seed)
        least = min((own["attribute_entropy"] for own in every.values()), key=lambda figure: figure["value"])
        reward = of_mean(self.tables[row]["reward"].to_numpy(), seen.emotions, comparison.seed)
        return found | {"least_attribute_entropy": least, "reward": reward}

    def gains(self, rows: list[str], base: str) -> dict[str, dict[str, dict]]:
        """Return what rows have more than the row `base`, image by image, by pair of rows; `base` need not be there."""
        views = {row: self.views[row] for row in [*rows, base] if row in self.views}
        found = self.comparison.gains(views, self.judged, base)
        for row in [row for row in rows if f"{row} - {base}" in found]:
            found[f"{row} - {base}"]["kid"] = image_metrics.kid_difference(self._distance(row), self._distance(base))
        return found

    def _distance(self, row: str) -> tuple[torch.Tensor, ...]:
        """Return the distance of a row from real images, its own images in the order of their names, as in other rows."""
        if row not in self.distances:
            seen, real = self.views[row], self.comparison.training.fid
            made = seen.fid[np.argsort(seen.images["image_id"].to_numpy())]
            self.distances[row] = image_metrics.kernel_distance(real, made, self.comparison.within_training)
        return self.distances[row]

    def of_candidates(self, row: str) -> dict[str, float]:
        """Return how reward and gate rank the candidates of a condition, beside the judge, and what an oracle would get."""
        table, names = self.tables[row], list(self.settings.data.taxonomy.emotions)
        turns = int(table["turn"].max()) + 1
        own = self.judged[row][np.arange(len(table)), [names.index(emotion) for emotion in table["emotion"]]]
        known = "joint" if table["content"].ne("").any() else "emotion"
        right = self.comparison.right(self.views[row], self.judged[row])[f"{known}_accuracy"]
        columns = {"judge": np.log(own.clip(1e-12)), "reward": table["reward"], "gate": table["gate"], "right": right}
        by_image = {name: torch.tensor(np.asarray(each, float)).view(turns, -1).T for name, each in columns.items()}
        return {
            "rank correlation of the reward with the judge": rank_correlation(by_image["reward"], by_image["judge"]),
            "rank correlation of the gate with the judge": rank_correlation(by_image["gate"], by_image["judge"]),
            f"rank correlation of the reward with {known} accuracy": rank_correlation(by_image["reward"], by_image["right"]),
            f"{known} accuracy of an oracle's best of {turns}": by_image["right"].amax(1).mean().item(),
        }


def measure_loop(
    settings: Settings, folder: Path, generators: dict[str, Path], history: list[dict], others: dict[str, dict] | None = None
) -> None:
    """Measure all rows and write `folder`/metrics.json. All processes call it together.

    generators: folders of the rows untouched and, where they were trained, reward and control. history: what is known of
    each round. others: further rows of the untouched generator, by how generate differs.
    """
    loop, measure = settings.loop, Measure(settings, folder, generators["untouched"])
    for row, generator in generators.items():
        measure.make(row, generator, {"untouched": max(loop.candidates, loop.best_of), "reward": loop.best_of}.get(row, 1))
    for row, changed in (others or {}).items():
        measure.make(row, generators["untouched"], **changed)
    several = [row for row in ("untouched", "reward") if row in generators and measure.tables[row]["turn"].any()]
    candidates = {row: measure.of_candidates(row) for row in several}
    if not is_first_process():
        return
    for number in sorted({*(2**power for power in range(1, loop.candidates.bit_length())), loop.best_of} - {1}):
        measure.keep_best(f"best of {number}", "untouched", number)
        measure.keep_best(f"best of {number} by the gate", "untouched", number, by="gate")
    chosen, together = f"best of {loop.best_of}", f"reward, best of {loop.best_of}"
    if "reward" in generators and loop.best_of > 1:
        measure.keep_best(together, "reward", loop.best_of)
    for row in ("untouched", "reward"):
        if row in generators:
            measure.keep_best(row, row, 1)
    figures = {row: measure.figures(row) for row in measure.tables}
    paired = {}
    for base in ("control", "untouched"):
        paired |= measure.gains(list(measure.views), base)
    if together in measure.views:
        paired |= measure.gains([together], chosen)  # what training adds to the choice
    about = {
        "judge": loop.judge,
        "reward": reward_key(settings),
        "gate": gate_of(loop.reward),
        "split": settings.evaluate.split,
        "seed": settings.seed,
        "n": loop.images * len(settings.data.taxonomy),
        "seconds": seconds_of(measure, generators["untouched"]),
    }
    write_json(
        folder / "metrics.json",
        {"about": about, "figures": figures, "paired": paired, "candidates": candidates, "rounds": history},
    )
    tell(figures, paired)


def seconds_of(measure: Measure, generator: Path) -> dict[str, float]:
    """Return the seconds of making an image, and of scoring it, in a batch of this process."""
    table = measure.tables["untouched"]
    pipe, about = load_generator(generator, start_process().device)
    generate = measure.settings.generate
    shared = {"steps": generate.steps, "guidance_scale": generate.guidance_scale, "seed": 0} | about
    shared |= {"negative_prompt": generate.negative_prompt, "strength": generate.strength, "spread": generate.spread}
    prompt = CONTENT_PROMPT if pipe.contents else PLACEHOLDER
    some = table.head(generate.batch_size)
    batch = [
        shared | {"prompt": prompt, "weights": {row.emotion: 1.0}} | ({"content": row.content} if row.content else {})
        for row in some.itertuples()
    ]
    began = time.monotonic()
    images = sample(pipe, batch)
    made = time.monotonic()
    measure.reward(images, asked_of(some))
    return {"an image": (made - began) / len(batch), "its score": (time.monotonic() - made) / len(batch)}


def asked_of(table: pd.DataFrame) -> list[Condition]:
    """Return what the images of a table (columns emotion, prompt, content) were asked to show."""
    return [Condition(row.emotion, row.prompt, row.content or None) for row in table.itertuples()]


def tell(figures: dict[str, dict], paired: dict[str, dict]) -> None:
    """Log the figures that matter."""
    named = {row: {name: own[name]["value"] for name in SHOWN if name in own} for row, own in figures.items()}
    log.info(f"\n{pd.DataFrame(named).T.to_markdown(floatfmt='.3f')}\n")
    for pair, own in paired.items():
        for name, each in own.items():
            log.info(f"{pair}: {name} {signed(each)}")
