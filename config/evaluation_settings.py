"""The settings of the evaluation: a section of `Settings` in settings.py."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from config.section import ModelName, ProjectPath, Section, SplitAtCommas, Unique


class Evaluate(Section):
    """The models, generators and images that evaluation/evaluate.py measures, and the networks that it measures with."""

    models: Annotated[list[ModelName], SplitAtCommas, Unique] = Field([])
    """Models, adapters or merged weights, by name or folder. An empty list takes the base model and the run's result."""
    split: Literal["val", "test"] = "val"
    """Split that models are asked about and that generated images are compared with."""
    folder: ProjectPath | None = None
    """Folder with a subfolder of images for each emotion, asked about instead of the split. null asks about the split."""
    class_map: ProjectPath | None = None
    """YAML in config/class_maps/ that maps the classes of folder to names. null takes folders called like an emotion."""
    votes: ProjectPath | None = None
    """Table of the votes of several people about each image in folder. null takes each image's class as its label."""
    benchmark: ProjectPath | None = None
    """Published file of questions of VECBench or MVEI, about images in folder: for evaluation/benchmark_file.py."""
    images: int | None = Field(None, ge=1, le=10**8)
    """Images that models are asked about, equally many of each emotion. null takes all."""
    batch_size: int = Field(32, ge=1, le=4096)
    """Questions that each process asks at once, for the answer alone."""
    reasoned_batch_size: int = Field(256, ge=1, le=4096)
    """Questions that each process lets a model think about at once. A thought's tokens take as long for many as for few."""
    image_batch_size: int = Field(64, ge=1, le=4096)
    """Images that each process shows its networks at once."""
    reasoned: int | None = Field(1000, ge=1, le=10**8)
    """Images that a reasoning model thinks about, equally many of each emotion; null: all. It answers all without too."""
    blind: bool = True
    """Ask the last model about a grey image too, to see what the text alone gives away."""
    baselines: bool = True
    """Measure CLIP (models.clip) too: zero-shot, and a linear probe on the training split."""
    generators: Annotated[list[ProjectPath], SplitAtCommas, Unique] = Field([])
    """Folders of generators, or of other methods' images in <emotion>/, measured beside the run's own generator."""
    generated: int = Field(500, ge=4, le=10**6)
    """Images of each emotion that every method makes, and that are taken of the split for comparison."""
    reference: int | None = Field(None, ge=16, le=10**8)
    """Training images, equally many of each emotion, that generated ones are compared with. null: as many as possible."""
    pairs: int = Field(2000, ge=8, le=10**7)
    """Pairs of images of the same emotion, over all emotions, for LPIPS and semantic diversity."""
    judge: ModelName | None = None
    """Classifier of the emotions, or EmoGen's as .pth or imported. null fits a linear probe of models.clip."""
    force_judge: bool = False
    """Accept a judge that the generator was trained with."""
    fid_network: ModelName = "inception"
    """Network whose features FID and KID compare: inception (torch-fidelity), or a vision model by name or folder."""
    lpips_network: ModelName = "alex"
    """Network whose features LPIPS compares: alex (lpips), or a ResNet by name or folder, unweighted."""
    object_classifier: ModelName = "microsoft/resnet-50"
    """Classifier of objects for semantic clarity and attributes: a name, a folder or a file of torchvision's ResNet-50."""
    scene_classifier: ModelName = "data/resnet50_places365.pth.tar"
    """Classifier of scenes for semantic clarity and attributes: a name, a folder or a file of torchvision's ResNet-50."""
    contents: Annotated[list[str], SplitAtCommas, Unique] = Field(["bag", "cup", "house", "room", "street", "tree"])
    """Contents that emotions are put on, at strengths from 0 to 1, as in "a photo of a <emotion> bag"."""
    curve_images: int = Field(8, ge=1, le=10**5)
    """Images of each content, strength and emotion. Each mix and weight gets four times as many."""

    def contradictions(self) -> Iterator[str]:
        if self.folder is None:
            for key in [name for name in ("class_map", "votes", "benchmark") if getattr(self, name)]:
                yield f"evaluate.{key}: needs evaluate.folder; set evaluate.folder too"


class Rating(Section):
    """The page on which people rate images, and their answers: evaluation/rating_page.py and rating_answers.py."""

    kind: Literal["pair", "emotion"] = "pair"
    """pair asks which of two images shows an emotion better. emotion asks which emotion an image shows."""
    rows: Annotated[list[str], SplitAtCommas, Unique] = Field(["ours", "prompt_only"], min_length=1)
    """Rows of the run's evaluation, or folders of images in <emotion>/. pair compares two, the first with the second."""
    images: int = Field(6, ge=1, le=10**4)
    """Trials of each emotion, for pair; images of each emotion and row, for emotion."""
    catch_trials: int = Field(6, ge=0, le=1000)
    """Trials whose answer is written in the image, which tell who does not look."""
    size: int = Field(384, ge=32, le=2048)
    """Pixels of the longer side of an image on the page."""
    answers: Annotated[list[ProjectPath], SplitAtCommas, Unique] = Field([])
    """Files of answers that raters have downloaded from the page, and folders of such files."""
    caught: float = Field(0.8, ge=0, le=1)
    """Least share of the catch trials that a rater must get right. A rater below it does not count."""

    def contradictions(self) -> Iterator[str]:
        if self.kind == "pair" and len(self.rows) != 2:
            yield f"rating.rows: pair compares two rows, not {len(self.rows)}; name two, or set rating.kind=emotion"
