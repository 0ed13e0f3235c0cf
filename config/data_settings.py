"""The settings of the data and of the machine: sections of `Settings` in settings.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from config.section import ModelName, NamesAsText, ProjectPath, Section, SplitAtCommas, Unique
from config.taxonomy import DEFAULT, TaxonomyFile

AttributeKind = Literal["object", "scene", "facial_expression", "human_action"]
Split = Literal["train", "val", "test"]


class Data(Section):
    """The data set on disk, the emotions that it knows, and the attribute folders made from it."""

    emoset: ProjectPath = Path("data/EmoSet")
    """Folder of the data set, in EmoSet's layout: info.json, train.json, val.json, test.json, annotation/ and image/."""
    taxonomy: TaxonomyFile = Field(DEFAULT)
    """YAML file that lists the emotions, their order, which are positive, and their colours."""
    attribute_root: ProjectPath = Path("data/EmoSet-attributes")
    """Folder where the attribute folders are built, and rebuilt when something changes. Other folders are never touched."""
    cache: ProjectPath = Path("data/cache")
    """Folder for the index of all annotations, for pixels, latents and features, which are computed once."""
    kinds: Annotated[list[AttributeKind], SplitAtCommas, Unique] = Field(["object", "scene"])
    """Kinds of attribute that get folders and take part in the balanced set. An empty list uses no attributes."""
    link: Literal["auto", "hard", "symbolic", "copy"] = "auto"
    """How an image gets into its attribute folders. auto takes the first of hard, symbolic, copy that the disk allows."""
    problems_allowed: float = Field(0.01, ge=0, le=1)
    """Largest share of images with a problem. With more problems the run ends; with fewer it leaves these images out."""
    decode: bool = True
    """Decode JPEGs while reading, so that damaged ones are found. false looks at their header and last bytes alone."""
    near_duplicates: int | None = Field(None, ge=0, le=16)
    """Largest number of bits in which 64-bit perceptual hashes of near-duplicates across splits differ. null skips them."""


class Balance(Section):
    """The emotion-balanced training set that is drawn from the data set."""

    policy: Literal["tempered", "emogen"] = "tempered"
    """tempered makes emotions equal, flattens attributes and bounds repeats. emogen is the published rule."""
    splits: Annotated[list[Split], SplitAtCommas, Unique] = Field(["train"], min_length=1)
    """Splits that the balanced set is drawn from. Do not evaluate on them."""
    temperature: float = Field(0.5, ge=0, le=1)
    """Exponent on an attribute's image count in the tempered policy. 1 keeps the long tail, 0 makes attributes equal."""
    max_repeats: int = Field(4, ge=1, le=1000)
    """Most draws of one image in the tempered policy."""
    images_per_emotion: int | None = Field(None, ge=1, le=10**7)
    """Draws of each emotion in the tempered policy. null: as many as the largest emotion has, if max_repeats allows it."""

    def unread(self) -> set[str]:
        return {"temperature", "max_repeats", "images_per_emotion"} if self.policy == "emogen" else set()


class Machine(Section):
    """How the scripts use the machine they run on. Nothing here changes a result."""

    processes: int | None = Field(None, ge=1, le=256)
    """Processes that read annotations, check and decode images. null takes one for each core."""
    loaders: int = Field(2, ge=0, le=256)
    """Processes that load training batches, for each training process: at most one for each core. 0 starts none."""
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    """Tracker that gets the training curves, beside metrics.jsonl."""


class Drawn(Section):
    """The small drawn EmoSet that stands in for the real one in the demo and the tests."""

    images: int = Field(4000, ge=80, le=99999)
    """Number of drawn images, over all emotions and splits."""
    size: int = Field(64, ge=32, le=1024)
    """Width and height of a drawn image, in pixels."""


class Source(Section):
    """Another data set, a folder or one of the Hub, that emoset/import_folder.py brings into EmoSet's layout."""

    folder: ProjectPath | None = None
    """Folder with a subfolder of images for each class."""
    dataset: ModelName | None = None
    """Data set with an image and a label column: a name on the Hub, or a folder of Parquet files."""
    image_column: str = "image"
    """Column of source.dataset that holds the images."""
    label_column: str = "label"
    """Column of source.dataset that holds the classes."""
    classes: Annotated[dict[str, str], NamesAsText] = Field({})
    """Emotion of each class, such as {joy: amusement}. "" leaves a class out. An emotion's own class needs no entry."""
    shares: Annotated[list[float], SplitAtCommas] = Field([0.8, 0.1, 0.1], min_length=3, max_length=3)
    """Shares of the train, val and test splits, for sources that have no splits of their own."""

    def contradictions(self) -> Iterator[str]:
        if any(share < 0 for share in self.shares) or abs(sum(self.shares) - 1) > 1e-6:
            yield f"source.shares: {self.shares} are not shares of the train, val and test splits; let them sum to 1"
