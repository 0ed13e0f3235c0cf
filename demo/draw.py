"""Draw a small EmoSet: the published layout and vocabulary, drawn images, no download.

    python demo/draw.py --config config/demo.yaml
    python demo/draw.py --config config/demo.yaml drawn.images=500 drawn.size=128 seed=1

The same settings make the same files on any machine. Beside the published files stand cues.csv, what was drawn into each
image, and contact_sheet.png.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data.emoset", "drawn", "machine.processes")

from contextlib import nullcontext

from config.settings import Settings
from demo.drawn.dataset import first_images, room_for, write_dataset
from runtime.built_folder import building, is_built, lock
from runtime.checking import check_outside, check_room, check_writable, in_words, stops_here
from runtime.recipe import Recipe, settings_of
from runtime.run_folder import log, open_run_folder


def main(settings: Settings) -> None:
    check_outside(settings.run, settings.data.emoset, "data.emoset")
    open_run_folder(settings, "draw")
    folder, drawn = settings.data.emoset.resolve(), settings.drawn
    recipe = Recipe("drawn EmoSet", {"seed": settings.seed} | settings_of("drawn", drawn), {"version": 1})
    check_writable(folder.parent, "data.emoset")
    with nullcontext() if settings.check else lock(folder):
        if is_built(folder, recipe):
            log.info(f"drawn EmoSet: {drawn.images:,} images; nothing has changed, so it is up to date")
            return
        room = room_for(drawn.images, drawn.size)
        check_room(folder, room, "the drawn EmoSet")
        if stops_here(settings, {"images": f"{drawn.images:,}", "disk": in_words(room)}):
            return
        with building(folder, recipe) as work:
            splits = write_dataset(work, drawn.images, drawn.size, settings.seed, settings.machine.processes)
            first_images(work).save(work / "contact_sheet.png")
    counts = ", ".join(f"{len(rows):,} {split}" for split, rows in splits.items())
    log.info(
        f"drawn EmoSet: {drawn.images:,} images of {drawn.size} x {drawn.size} pixels ({counts}); see contact_sheet.png"
    )


if __name__ == "__main__":
    run(main)
