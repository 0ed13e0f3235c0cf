"""What the model cards of both halves say of the data: their name, their terms, and what a model cannot know from them."""

from contextlib import suppress
from pathlib import Path

from config.taxonomy import DEFAULT, Taxonomy, read_taxonomy
from runtime.built_folder import MARKER, OLD_MARKER
from runtime.files import DamagedError, read_json
from runtime.recipe import read_recipe

LICENCE = """license: other
license_name: emoset-terms
license_link: https://vcc.tech/EmoSet
"""
LIMITS = """- It knows the emotions {emotions},
  as the annotators of EmoSet saw them in photographs from the web, and their stereotypes. No image, and nothing said of
  one, is evidence of what anybody feels.
- EmoSet may be used for research that is not commercial, by its terms (https://vcc.tech/EmoSet); what was trained on it
  should not be used otherwise. The base model has terms of its own."""
DRAWN_LIMITS = """- It is for trying the code out. It knows the emotions {emotions}
  as a program drew them. It knows nothing about photographs or about what anybody feels. The base model may have terms
  of its own."""
IMPORTED_LIMITS = """- It knows the emotions {emotions},
  as those who labelled its training images saw them, and their stereotypes. No image, and nothing said of one, is evidence
  of what anybody feels.
- {licence} The base model has terms of its own."""
IMPORTED = "imported data set"


def about_data(emoset: Path, taxonomy: Taxonomy) -> dict[str, str]:
    """Return of the data set in a folder: `data`, its name; `licence`, lines of a card's head; `limits`, items of a list."""
    emotions, built = ", ".join(taxonomy.emotions), read_recipe(emoset / MARKER)
    if not built:
        with suppress(DamagedError):
            built = read_json(emoset / OLD_MARKER)
    if not built and taxonomy.emotions == read_taxonomy(DEFAULT).emotions:
        return {"data": "EmoSet", "licence": LICENCE, "limits": LIMITS.format(emotions=emotions)}
    if not built:
        limits = IMPORTED_LIMITS.format(emotions=emotions, licence="The terms of its data are those of whoever gave them.")
        return {"data": f"the images of {emoset.name}", "licence": "", "limits": limits}
    if built["what"] == IMPORTED:
        licence = f"The terms of its data: {built['inputs']['licence']}."
        name = f"the images of {built['inputs']['source']}"
        return {"data": name, "licence": "", "limits": IMPORTED_LIMITS.format(emotions=emotions, licence=licence)}
    return {"data": f"a {built['what']}", "licence": "", "limits": DRAWN_LIMITS.format(emotions=emotions)}
