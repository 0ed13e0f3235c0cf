"""Draw a small EmoSet: the published layout and vocabulary, drawn images, no download.

    python emoset/draw.py --config config/demo.yaml
    python emoset/draw.py --config config/demo.yaml drawn.images=500 drawn.size=128 seed=1

The same settings make the same files on any machine. Beside the published files stand cues.csv, what was drawn into each
image, and contact_sheet.png.
"""

import sys

try:
    from config.script import log, open_run_folder, run
    from config.settings import Settings
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing.name} is not installed; in the project's folder: pip install -r requirements.txt -e .")


def main(settings: Settings) -> None:
    from emoset.built_folder import building, is_built, lock
    from emoset.drawn.dataset import contact_sheet, write_dataset

    open_run_folder(settings, "draw")
    folder, drawn = settings.data.emoset.resolve(), settings.drawn
    recipe = {"what": "drawn EmoSet", "drawn": drawn.model_dump(), "seed": settings.seed, "version": 1}
    with lock(folder):
        if is_built(folder, recipe):
            log.info(f"drawn EmoSet: {drawn.images:,} images; nothing has changed, everything stays as it is")
            return
        with building(folder, recipe) as work:
            splits = write_dataset(work, drawn.images, drawn.size, settings.seed, settings.data.workers)
            contact_sheet(work).save(work / "contact_sheet.png")
    counts = ", ".join(f"{len(rows):,} {split}" for split, rows in splits.items())
    log.info(
        f"drawn EmoSet: {drawn.images:,} images of {drawn.size} x {drawn.size} pixels ({counts}); see contact_sheet.png"
    )


if __name__ == "__main__":
    run(main, __doc__)
