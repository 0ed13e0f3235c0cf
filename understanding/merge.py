"""Write a fine-tuned model as plain weights: the adapter merged into its base, for use without peft.

    python understanding/merge.py

Reads `<run>/understanding/model/`, or predict.model where that is set; writes `<run>/understanding/merged/`.
"""

import sys

from config.errors import UserError
from runtime.run_folder import log, open_run_folder
from runtime.script import run
from config.settings import Settings


def main(settings: Settings) -> None:
    # Imported here, so that --help and an error in the config answer at once.
    from runtime.built_folder import building
    from runtime.hub import resolve_model
    from understanding.loading import load_processor
    from understanding.model import ADAPTER, load_whole

    folder = open_run_folder(settings, "merge").parent / "understanding"
    source = settings.predict.model or str(folder / "model")
    if settings.predict.model is None and not (folder / "model" / ADAPTER).is_file():
        raise UserError(f"{folder / 'model'} holds no adapter; understanding.py makes one, or name one: predict.model=...")
    whole = settings.understanding.model_copy(update={"four_bit": False})  # 4 bits cannot be merged into
    model = load_whole(whole, source, "predict.model")
    if not hasattr(model, "merge_and_unload"):
        raise UserError(f"predict.model: {source} holds no adapter, there is nothing to merge")
    with building(folder / "merged", {"what": "merged understanding model", "of": source}) as work:
        model.merge_and_unload().save_pretrained(work)
        load_processor(resolve_model(source), "predict.model").save_pretrained(work)
    log.info(f"wrote {(folder / 'merged').relative_to(settings.run)}/")


if __name__ == "__main__":
    run(main, __doc__)
