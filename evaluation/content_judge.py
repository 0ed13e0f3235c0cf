"""Whether an image shows the content that its prompt names, by the classifier that knows the word, or else by CLIP."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor
from torch.nn.functional import normalize

from emoset.attribute_folders import memberships
from emoset.labels import attribute_name
from evaluation.networks import clip_texts
from evaluation.views import Views

OBJECTS, SCENES, CLIP = "object classifier", "scene classifier", "CLIP"


@dataclass(frozen=True)
class ContentJudge:
    """texts: (A, D), CLIP's features, of unit length, of "a photo of a {word}" for the A words of `vocabulary`."""

    vocabulary: tuple[str, ...]
    texts: Tensor

    def shown(self, seen: Views) -> np.ndarray:
        """Return (n,) whether each image shows its content (column content of its table); one without does not.

        A label that an image's classifier finds likeliest must be the content, of all objects or of all scenes. CLIP must
        find "a photo of a {content}" nearest to the image, of the vocabulary.
        """
        contents = [attribute_name(name) for name in seen.images["content"]]
        judges = judges_of(contents, seen.object_labels, seen.scene_labels)
        objects, scenes = spelled(seen.object_labels), spelled(seen.scene_labels)
        nearest = (normalize(seen.clip, dim=1) @ self.texts.T).argmax(1).tolist()
        said = {
            OBJECTS: [objects[top] for top in seen.objects.argmax(1)],
            SCENES: [scenes[top] for top in seen.scenes.argmax(1)],
            CLIP: [{self.vocabulary[top]} for top in nearest],
        }
        return np.array([bool(name) and name in said[judges[name]][row] for row, name in enumerate(contents)], dtype=bool)


def load_content_judge(train: pd.DataFrame, kinds: list[str], contents: list[str], clip: str) -> ContentJudge:
    """Return the judge whose vocabulary are the attributes of training images and the named contents, in any spelling.

    clip: as models.clip names it.
    """
    words = {*memberships(train, kinds)["attribute"], *map(attribute_name, contents)}
    words = tuple(sorted(words)) or ("",)  # which is no image's content
    return ContentJudge(words, clip_texts(clip, [f"a photo of a {word}" for word in words]))


def judges_of(contents: Iterable[str], object_labels: tuple[str, ...], scene_labels: tuple[str, ...]) -> dict[str, str]:
    """Return by content, in its one spelling, who judges it: the classifier of objects or of scenes that has it, or CLIP."""
    objects, scenes = (set().union(*spelled(labels)) for labels in (object_labels, scene_labels))
    names = map(attribute_name, contents)
    return {name: OBJECTS if name in objects else SCENES if name in scenes else CLIP for name in names}


def first_contents(index: pd.DataFrame, kinds: list[str]) -> pd.Series:
    """Return the content of each image of an index: its first attribute of `kinds`, in their order, or ""."""
    first = memberships(index, kinds).drop_duplicates("image_id").set_index("image_id")["attribute"].to_dict()
    return index["image_id"].map(lambda image_id: first.get(image_id, ""))


def spelled(labels: tuple[str, ...]) -> list[set[str]]:
    """Return the words that each label of a classifier lists, `Plant, Palm_tree`, in their one spelling."""
    return [{attribute_name(name) for name in label.split(",")} for label in labels]
