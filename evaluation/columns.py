"""The two columns of a method's figures: as it should be measured, and as EmoGen's code measures, fault for fault."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from config.taxonomy import Taxonomy
from evaluation import image_metrics
from evaluation.content_judge import ContentJudge
from evaluation.features import Network, features_or_nan
from evaluation.perceptual import Lpips
from evaluation.second_judge import SecondJudge
from evaluation.views import Views
from runtime.figures import balanced_share, of_mean, of_pairs, paired
from understanding.scoring import likelihood_columns

RIGHT = ("emotion_accuracy", "content_accuracy", "joint_accuracy")


@dataclass(frozen=True)
class Comparison:
    """What the images of all methods are compared with.

    pairs: how many of the same emotion LPIPS and semantic diversity compare. training: the real images of `corrected`.
    within_training: their kernel_sums. memorable: CLIP's features (N, D) of all training images. squeezed: features (N, D)
    that FID compares of the real images of `emogen`, squeezed to squares. black_clip: CLIP as the published code uses it.
    content: who tells what images show. second: another judge of emotions than the one whose probabilities are given.
    """

    taxonomy: Taxonomy
    seed: int
    pairs: int
    lpips: Lpips
    training: Views
    within_training: Tensor
    memorable: Tensor
    squeezed: Tensor
    black_clip: Network
    content: ContentJudge
    second: SecondJudge

    def corrected(self, seen: Views, judged: np.ndarray) -> dict[str, dict]:
        """Return the figures of a method's images as they should be. judged: the judge's probabilities (n, K)."""
        emotions, seed, training = seen.emotions, self.seed, self.training
        pairs = image_metrics.pairs_within(emotions, self.pairs, seed)
        distances = self.lpips.distances(seen.images, pairs)
        there = np.isfinite(distances)  # both images of the pair can still be read
        return {
            **image_metrics.emotion_figures(judged, emotions, self.taxonomy, seed),
            "emotion_accuracy_second": of_mean(self.second.says(seen) == emotions, emotions, seed),
            **self.content_figures(seen, judged),
            **image_metrics.fid_figures(training.fid, seen.fid, seed),
            "kid": image_metrics.kid_figure(training.fid, seen.fid, self.within_training),
            **image_metrics.manifold_figures(training.fid, training.emotions, seen.fid, emotions, seed),
            "lpips": of_pairs(pairs[there], distances[there], emotions, seed),
            "semantic_clarity": image_metrics.clarity_figure(seen.objects, seen.scenes, emotions, seed),
            "semantic_diversity": of_pairs(pairs, image_metrics.mean_squares(seen.clip, pairs), emotions, seed),
            **image_metrics.attribute_figures(
                image_metrics.attributes_shown(seen.objects, seen.scenes),
                emotions,
                image_metrics.attributes_shown(training.objects, training.scenes),
                training.emotions,
                seed,
            ),
            "nearest_training_distance": image_metrics.nearest_figure(seen.clip, self.memorable, emotions, seed),
        }

    def content_figures(self, seen: Views, judged: np.ndarray) -> dict[str, dict]:
        """Return how many of the images that have a content show it, and how many show it and their emotion: EC-A."""
        named = seen.images["content"].ne("").to_numpy()
        if not named.any():
            return {}
        right = self.right(seen, judged)
        return {
            name: of_mean(right[name][named], seen.emotions[named], self.seed)
            for name in ("content_accuracy", "joint_accuracy")
        }

    def right(self, seen: Views, judged: np.ndarray) -> dict[str, np.ndarray]:
        """Return (n,) whether each image shows its emotion, its content, and both, by the accuracy that counts it."""
        felt = np.array(self.taxonomy.emotions)[judged.argmax(1)] == seen.emotions
        shown = self.content.shown(seen)
        return {"emotion_accuracy": felt, "content_accuracy": shown, "joint_accuracy": felt & shown}

    def gains(self, views: dict[str, Views], judged: dict[str, np.ndarray], base: str) -> dict[str, dict[str, dict]]:
        """Return what each row's images have more than those of the row `base`, image by image (runtime.figures.paired).

        Images are paired that have the same emotion, seed and content; a row without such images has no gain. Where no
        image has a content, emotions alone are compared.
        """
        right = {
            row: pd.DataFrame(self.right(seen, judged[row])).assign(
                image=seen.images["image_id"].str.partition("/")[2], emotion=seen.emotions, content=seen.images["content"]
            )
            for row, seen in views.items()
        }
        found = {}
        for row in [row for row in right if row != base and base in right]:
            both = right[row].merge(right[base], on=["image", "emotion", "content"], suffixes=("", " of base"))
            if both.empty:
                continue
            names = RIGHT if both["content"].any() else RIGHT[:1]
            emotions = both["emotion"].to_numpy()
            first, second = (
                {name: balanced_share(both[name + of].to_numpy(), emotions) for name in names} for of in ("", " of base")
            )
            found[f"{row} - {base}"] = paired(first, second, both["image"].to_numpy(), emotions, self.seed)
        return found

    def published(self, seen: Views, squeezed: Tensor, judged: np.ndarray) -> dict[str, dict]:
        """Return the figures of a method's images as EmoGen's code has them.

        squeezed: features (n, D) that FID compares of the images, squeezed to squares. judged: as of `corrected`.
        """
        emotions, seed = seen.emotions, self.seed
        pairs = image_metrics.published_pairs(emotions, self.taxonomy.emotions, seed)
        shown, rows = np.unique(pairs, return_inverse=True)
        features = features_or_nan(self.black_clip, seen.images["path"].iloc[shown])
        distances = self.lpips.distances(seen.images, pairs, published=True)
        squares = image_metrics.mean_squares(features, rows.reshape(pairs.shape))
        return {
            **image_metrics.emotion_figures(judged, emotions, self.taxonomy, seed, pooled=True),
            **image_metrics.fid_figures(self.squeezed, squeezed, seed),
            "lpips": image_metrics.published_pair_figure(distances, seed),
            "semantic_clarity": image_metrics.clarity_figure(seen.objects, seen.scenes, emotions, seed, pooled=True),
            "semantic_diversity": image_metrics.published_pair_figure(squares, seed),
        }


def by_emotion(
    judged: np.ndarray, shown: np.ndarray, emotions: np.ndarray, taxonomy: Taxonomy, seed: int
) -> dict[str, dict[str, dict]]:
    """Return, for each intended emotion, both accuracies and the entropy of attributes.

    judged: the judge's probabilities (n, K). shown: (n,) the attributes that images show (image_metrics.attributes_shown).
    """
    found = {}
    for name in [name for name in taxonomy.emotions if (emotions == name).any()]:
        own = emotions == name
        attributes = image_metrics.attribute_figures(shown[own], emotions[own], shown[own], emotions[own], seed)
        found[name] = image_metrics.emotion_figures(judged[own], emotions[own], taxonomy, seed)
        found[name]["attribute_entropy"] = attributes["attribute_entropy"]
    return found


def confusion(judged: np.ndarray, emotions: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """Return how often the images of each intended emotion (rows) were judged to be each (columns).

    judged: the judge's probabilities (n, K) of the emotions `names`.
    """
    said = np.array(names)[judged.argmax(1)]
    table = pd.crosstab(pd.Series(emotions, name="intended"), pd.Series(said, name="judged"))
    return table.reindex(index=list(names), columns=list(names), fill_value=0)


def judged_table(images: pd.DataFrame, judged: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """Return what the judge says of images (columns image_id, emotion, content): these, and p_<emotion> of each emotion.

    judged: the judge's probabilities (n, K) of the emotions `names`.
    """
    said = pd.DataFrame(judged, columns=likelihood_columns(names))
    return pd.concat([images[["image_id", "emotion", "content"]].reset_index(drop=True), said], axis=1)
