"""Write a fine-tuned model as plain weights: the adapter merged into its base, for use without peft.

    python understanding/merge.py

Reads `<run>/understanding/model/`, or predict.model where that is set. Writes `<run>/understanding/merged/`.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "understanding.dtype", "understanding.attention", "predict.model")

from pathlib import Path

from config.errors import UserError
from config.settings import Settings
from config.understanding_settings import Understanding
from runtime.built_folder import building, is_built
from runtime.checking import check_room, in_words, stops_here
from runtime.hub import model_digest, resolve_model
from runtime.processes import start_process
from runtime.recipe import Recipe
from runtime.run_folder import log, open_run_folder
from understanding.model import ADAPTER, load_whole
from understanding.model_check import base_of, check_extras, check_model
from understanding.processor import load_processor


def main(settings: Settings) -> None:
    folder = open_run_folder(settings, "merge").parent / "understanding"
    source = settings.predict.model or str(folder / "model")
    if settings.predict.model is None and not (folder / "model" / ADAPTER).is_file():
        found = "holds no adapter" if (folder / "model").is_dir() else "is not there"
        raise UserError(f"{source} {found}; understanding.py makes one, or name one: predict.model=...")
    whole = settings.understanding.model_copy(update={"four_bit": False})  # 4 bits cannot be merged into
    check_extras(whole)
    about = check_model(whole, source, "predict.model", not settings.check)
    if not about.has_adapter:
        raise UserError(f"predict.model: {source} holds no adapter, there is nothing to merge")
    if not (folder / "merged").is_dir():
        check_room(folder, about.bytes, "the merged model")
    size = in_words(about.bytes)
    if stops_here(settings, {"memory": f"{size} of weights", "disk": size}):
        return
    start_process()
    merge(whole, source, folder / "merged")
    log.info(f"wrote {(folder / 'merged').relative_to(settings.run)}/")


def merge(understanding: Understanding, source: str, folder: Path) -> None:
    """Write the plain weights of the adapter `source`, by name or folder, into `folder`.

    Raises UserError where there is no adapter.
    """
    inputs = {"adapter": model_digest(source), "base model": model_digest(base_of(Path(resolve_model(source))))}
    recipe = Recipe("merged understanding model", {"understanding.dtype": understanding.dtype}, inputs)
    if is_built(folder, recipe):
        log.info("merged model: nothing has changed")
        return
    model = load_whole(understanding, source, "predict.model")
    with building(folder, recipe) as work:
        model.merge_and_unload().save_pretrained(work)
        load_processor(resolve_model(source), "predict.model").save_pretrained(work)


if __name__ == "__main__":
    run(main)
