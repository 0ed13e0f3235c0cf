"""The card of an imported data set: what it holds, where it comes from, and what its owner has to add."""

from emoset.imported_layout import Imported
from runtime.recipe import Recipe

CARD = """---
pretty_name: {source}
task_categories: [image-classification]
tags: [emotion, affective-computing]
---
# {source}, in EmoSet's layout

{images:,} images of {emotions} emotions, imported by emoset/import_folder.py with seed {seed}.

| | {splits} |
|---|{rule}
{table}

## Where it comes from
- Source: {source}. Its licence: {licence}. Check yourself whether you may use or share the images.
- Classes with another name: {classes}.
- Left out: {left_out:,} files that are no usable images, and all of the classes that are mapped to "".
- `imported.csv` names the place of each image in the source.

## Limits
- The labels are those of the source. Nobody checked them here.
- No label is evidence of what anybody feels.
- Splits that the source does not have were drawn by the seed. To list near-duplicates across them, run
  training/dataset_balance.py with data.near_duplicates=4.

## To add before you share it
- How the images were collected, and from whom.
- Who labelled them: how many people, from where, and how far they agreed.
- Whether people can be recognised in them, and whether they agreed.
"""


def dataset_card(recipe: Recipe, classes: dict[str, str], splits: dict[str, list[Imported]], left_out: int) -> str:
    """Return the card, in Markdown.

    recipe: of the data set. classes: `source.classes`. left_out: how many files could not be used.
    """
    emotions = recipe.inputs["emotions"]
    of_each = {split: [image.emotion for image in images] for split, images in splits.items()}
    rows = [[emotion, *(f"{held.count(emotion):,}" for held in of_each.values())] for emotion in emotions]
    renamed = ", ".join(f"{name} as {emotion or 'left out'}" for name, emotion in classes.items())
    return CARD.format(
        source=recipe.inputs["source"],
        licence=recipe.inputs["licence"],
        seed=recipe.settings["seed"],
        left_out=left_out,
        images=sum(map(len, of_each.values())),
        emotions=len(emotions),
        splits=" | ".join(of_each),
        rule="---:|" * len(of_each),
        table="\n".join(f"| {' | '.join(row)} |" for row in rows),
        classes=renamed or "none",
    )
