"""The networks that see images for the metrics: each image is decoded once for all of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from config.evaluation_settings import Evaluate
from evaluation import networks
from evaluation.features import FeatureCache, Network
from evaluation.views import Views


@dataclass(frozen=True)
class Viewers:
    """The networks whose features Views hold, `squeezed`, which sees images squeezed to squares, and where all is kept."""

    clip: Network
    objects: Network
    scenes: Network
    fid: Network
    squeezed: Network
    cache: FeatureCache

    def see_data(self, train: pd.DataFrame, reference: pd.DataFrame, everything: pd.DataFrame) -> None:
        """See the data set's images, as images_of_emoset returns them. All processes call it."""
        viewed = [(network, reference) for network in (self.clip, self.objects, self.scenes, self.fid)]
        self.cache.fill([(self.squeezed, everything), (self.clip, train), *viewed], "seeing the data set")

    def see_rows(self, images: Mapping[str, pd.DataFrame], judge: Network, rows: Collection[str]) -> None:
        """See the images of all methods and curves. judge: sees all. rows: those that are measured in both columns."""
        wanted = [(judge, each) for each in images.values()]
        for name, each in images.items():
            if name != "fusion":
                wanted += [(network, each) for network in (self.clip, self.objects, self.scenes, self.fid)]
            if name in rows:
                wanted.append((self.squeezed, each))
        self.cache.fill(wanted, "seeing images")

    def views(self, images: pd.DataFrame, what: str) -> Views:
        """Return what the networks see in images, once and for all processes. what: the text at the progress bar."""
        return Views(
            images,
            self._features(self.clip, images, what),
            networks.probabilities(self.objects, self._features(self.objects, images, what), "object"),
            networks.probabilities(self.scenes, self._features(self.scenes, images, what), "scene"),
            self._features(self.fid, images, what),
            networks.labels(self.objects, "object"),
            networks.labels(self.scenes, "scene"),
        )

    def _features(self, network: Network, images: pd.DataFrame, what: str) -> Tensor:
        return self.cache.features_of(network, images, what)


def load_viewers(evaluate: Evaluate, clip: str, cache: FeatureCache) -> Viewers:
    """Return the networks that the settings name. clip: as models.clip names it."""
    return Viewers(
        networks.clip_network(clip),
        networks.classifier(evaluate.object_classifier, "evaluate.object_classifier"),
        networks.classifier(evaluate.scene_classifier, "evaluate.scene_classifier"),
        networks.fid_network(evaluate.fid_network, published=False),
        networks.fid_network(evaluate.fid_network, published=True),
        cache,
    )
