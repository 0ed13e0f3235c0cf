"""What the model cards of both halves say of the data: their name, their terms, and what a model cannot know from them."""

import json
from pathlib import Path

from emoset.built_folder import MARKER
from emoset.labels import EMOTIONS

LICENCE = """license: other
license_name: emoset-terms
license_link: https://vcc.tech/EmoSet
"""
LIMITS = f"""- It knows the eight emotions {", ".join(EMOTIONS)},
  as the annotators of EmoSet saw them in photographs from the web, and their stereotypes. No image, and nothing said of
  one, is evidence of what anybody feels.
- EmoSet may be used for research that is not commercial, by its terms (https://vcc.tech/EmoSet); what was trained on it
  should not be used otherwise. The base model has terms of its own."""
DRAWN_LIMITS = f"""- It is for trying the code out. The eight emotions {", ".join(EMOTIONS)}
  are, in drawings, what a program made them; of photographs, and of what anybody feels, it knows nothing.
  The base model may have terms of its own."""


def about_data(emoset: Path) -> dict[str, str]:
    """Return of the data set in a folder: `data`, its name; `licence`, lines of a card's head; `limits`, items of a list."""
    built = emoset / MARKER
    if not built.is_file():
        return {"data": "EmoSet", "licence": LICENCE, "limits": LIMITS}
    what = json.loads(built.read_text(encoding="utf-8"))["what"]
    return {"data": f"a {what}", "licence": "", "limits": DRAWN_LIMITS}
