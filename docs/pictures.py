"""Make the pictures of README.md and docs/ again from a run of the demo, and write in docs/images/README.md what made them.

    python docs/pictures.py --config config/demo.yaml
    python docs/pictures.py --config config/demo.yaml run=runs/demo-1

The run needs what `make demo` leaves: drawings, the balanced set and images. The picture of the page needs Chromium and
`pip install -e .[app]` too. That of a collapse needs a run whose loop had no data term: docs/loop.md has the commands. A
picture whose source is not there is left as it is, with its line.
"""

import json
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image

from config.loading import load
from config.section import ROOT
from config.settings import Settings
from demo.drawn.dataset import first_images
from emoset.images import load_image
from runtime.contact_sheet import contact_sheet
from runtime.files import read_json
from training.sampling import load_generator

IMAGES = Path(__file__).resolve().parent / "images"
COLUMNS = 8  # images of each emotion
HAS_BROWSER = bool(shutil.which("chromium") and find_spec("playwright") and find_spec("gradio"))
HEAD = """# What made these pictures

You make the pictures and this page again with `python docs/pictures.py --config config/demo.yaml`. `pipeline.svg` is drawn
by hand. The commands of `balance_policies.png` and `loop_collapse.jpg` are in [data.md](../data.md) and
[loop.md](../loop.md).

| picture | from | run | code |
|---|---|---|---|
"""


def main(settings: Settings) -> None:
    makers: dict[str, tuple[str, Callable[[Settings, Path], None]]] = {
        "drawn_emoset.png": ("draw", lambda settings, path: first_images(settings.data.emoset).quantize().save(path)),
        "balance.png": (
            "balance",
            lambda settings, path: Image.open(settings.run / "balance" / path.name).convert("RGB").quantize().save(path),
        ),
        "generated.jpg": ("images", lambda settings, path: drawn_contents(settings).save(path, quality=90)),
        "transfer.jpg": ("images", lambda settings, path: one_content(settings).save(path, quality=90)),
        "app.png": ("images", photograph_page),
        "loop_collapse.jpg": ("loop", lambda settings, path: collapse(settings).save(path, quality=90)),
    }
    page, lines = IMAGES / "README.md", []
    kept = {line.split("`")[1]: line for line in page.read_text(encoding="utf-8").splitlines(True) if line.startswith("| `")}
    for name, (stage, make) in makers.items():
        made_by = read_json(settings.run / stage / "environment.json")
        is_wanted = name != "loop_collapse.jpg" or settings.loop.data_weight == 0
        if not made_by or not is_wanted or (make is photograph_page and not HAS_BROWSER):
            lines.append(kept.get(name, f"| `{name}` | not made yet | | |\n"))
            continue
        make(settings, IMAGES / name)
        run = settings.run.relative_to(ROOT) if settings.run.is_relative_to(ROOT) else settings.run.name
        lines.append(f"| `{name}` | `{stage}/` | `{run}`, seed {settings.seed} | {made_by.get('git') or 'unknown'} |\n")
        print(lines[-1], end="")
    page.write_text(HEAD + "".join(lines), encoding="utf-8")


def of_prompt(settings: Settings, number: int) -> dict[str, list[dict]]:
    """Return by emotion the parameters of the images that a prompt of `generate.prompts` made, at least two of each."""
    manifest, prompt = settings.run / "images" / "manifest.jsonl", settings.generate.prompts[number]
    made = [each for each in map(json.loads, manifest.read_text("utf-8").splitlines()) if each["prompt"] == prompt]
    found = {emotion: [each for each in made if each["emotion"] == emotion] for emotion in settings.data.taxonomy.emotions}
    if any(len(own) < 2 for own in found.values()):
        sys.exit(
            f"error: {manifest}: no two images of each emotion by '{prompt}'; make them with training/inference.py first"
        )
    return found


def drawn_contents(settings: Settings) -> Image.Image:
    """Return the first images of each emotion by the first prompt, with the contents that they drew beneath."""
    made = {emotion: own[:COLUMNS] for emotion, own in of_prompt(settings, 0).items()}
    rows = {emotion: [load_image(settings.run / "images" / each["path"]) for each in own] for emotion, own in made.items()}
    return contact_sheet(rows, captions={emotion: [each["content"] for each in own] for emotion, own in made.items()})


def one_content(settings: Settings) -> Image.Image:
    """Return two images of each emotion by the second prompt, a column for each emotion."""
    made = of_prompt(settings, 1)
    rows = {
        name: [load_image(settings.run / "images" / own[place]["path"]) for own in made.values()]
        for place, name in enumerate(("first", "second"))
    }
    return contact_sheet(rows, captions={name: list(made) for name in rows})


def collapse(settings: Settings) -> Image.Image:
    """Return an image of each emotion by a run's generator and, from the same noise, by what a round of its loop left."""
    folders, emotions = {"before": "generator", "after": "loop/round_1/generator"}, settings.data.taxonomy.emotions
    generate, rows = settings.generate, {}
    for name, folder in folders.items():
        pipe, _ = load_generator(settings.run / folder, torch.device("cpu"))
        rows[name] = pipe(
            emotion=list(emotions),
            emotion_strength=generate.strength,
            emotion_spread=generate.spread,
            generator=[torch.Generator().manual_seed(number) for number in range(len(emotions))],
            num_inference_steps=generate.steps,
            guidance_scale=generate.guidance_scale,
        ).images
    return contact_sheet(rows, captions={name: list(emotions) for name in rows})


def photograph_page(settings: Settings, path: Path) -> None:
    """Take the picture of the page. Its packages are imported here, for only this picture needs them."""
    import page_picture

    page_picture.main(settings.run, path)


if __name__ == "__main__":
    main(load(sys.argv[1:]))
