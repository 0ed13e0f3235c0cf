"""Properties that hold for whatever is given: folder names, configs written and read, typed text, intervals, shared work."""

import string
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.decimal_yaml import Dumper
from config.loading import dump, load
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers
from emoset.labels import attribute_name, folder_name, parse_folder_name
from runtime import figures
from runtime.processes import shared_work
from runtime.recipe import Recipe, read_recipe
from training.image_files import plan_images
from training.mapper_data import Share
from understanding import kinds
from understanding.answers import extract_answer

TAXONOMY = read_taxonomy(DEFAULT)
TYPED = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
LABELS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).map(attribute_name).filter(bool)
FEW = settings(max_examples=25, deadline=None)
FEWER = settings(max_examples=8, deadline=None)


@given(LABELS, st.integers(0, 10**6))
def test_a_folders_name_is_a_name_and_reads_back(attribute, images):
    folder = folder_name(attribute, images)
    assert Path(folder).name == folder
    assert not set(folder) & set('\\/:*?"<>|')
    assert not folder.endswith((".", " "))
    assert parse_folder_name(folder) == (attribute_name(attribute), images)


@FEW
@given(TYPED)
def test_text_on_the_command_line_is_what_was_typed(text):
    assert load([f"generate.negative_prompt={text}"]).generate.negative_prompt == text


@FEW
@given(st.lists(st.text(string.ascii_letters + string.digits + " #:{}'\"-_", min_size=1).map(str.strip).filter(bool)))
def test_a_list_is_its_items_without_the_blanks_around_them(items):
    items = [item for item in items if not item.startswith(("[", "-"))]
    typed = load(["evaluate.contents=" + " , ".join(items)]).evaluate.contents
    assert typed == list(dict.fromkeys(items))


@FEW
@example(0, "0E0", ["1e-3"], 0.0, set())
@given(
    st.integers(0, 2**32 - 1),
    TYPED,
    st.lists(TYPED, max_size=3),
    st.floats(0, 4),
    st.sets(st.sampled_from(["object", "scene", "human_action"])),
)
def test_a_config_that_was_written_reads_back(tmp_path_factory, seed, negative, contents, strength, kinds):
    given_values = {"seed": seed, "generate": {"negative_prompt": negative, "strength": strength}}
    given_values |= {"evaluate": {"contents": contents}, "data": {"kinds": sorted(kinds)}}
    path = tmp_path_factory.mktemp("config") / "mine.yaml"
    path.write_text(yaml.dump(given_values, Dumper=Dumper, allow_unicode=True), encoding="utf-8")
    loaded = load(["--config", str(path)])
    path.write_text(dump(loaded), encoding="utf-8")
    assert load(["--config", str(path)]) == loaded
    assert str(ROOT) not in dump(loaded)


@FEWER
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 100))
def test_an_interval_holds_its_value_and_repeats(values, seed):
    values, groups = np.array(values), np.arange(len(values)) % 2
    for found in (figures.of_share(values, seed), figures.of_mean(values, groups, seed)):
        assert min(values) - 1e-9 <= found["low"] <= found["high"] <= max(values) + 1e-9
        assert found["n"] == len(values)
    assert figures.of_mean(values, groups, seed) == figures.of_mean(values, groups, seed)
    assert figures.of_share(np.full(5, values[0]), seed)["low"] == pytest.approx(values[0])


JSON = st.one_of(st.none(), st.booleans(), st.integers(-(10**6), 10**6), TYPED, st.lists(st.integers(0, 9), max_size=3))
KEYS = st.dictionaries(st.sampled_from(["mapper.learning_rate", "seed", "data.kinds", "grpo.beta"]), JSON)


@FEW
@given(KEYS, KEYS)
def test_a_recipe_names_each_key_that_differs_and_no_other(tmp_path_factory, old, new):
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    before, after = Recipe("thing", old, {"data": "a"}), Recipe("thing", new, {"data": "a"})
    before.finish(path)
    assert before.is_finished(path)
    assert after.is_started(path) == (before.content == after.content)
    assert read_recipe(path)["settings"] == before.content["settings"]
    absent = object()
    for key in {*old, *new}:
        differs = before.content["settings"].get(key, absent) != after.content["settings"].get(key, absent)
        assert (f"{key} " in after.changes(path)) == differs or any(
            key in str(value) for value in [*old.values(), *new.values()]
        )


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 50))
def test_processes_share_an_update_out_without_gap_or_overlap(batch_size, accumulation, processes, update):
    shares = [Share(batch_size, accumulation, processes, process) for process in range(processes)]
    taken = sorted(place for share in shares for batch in share.micro_batches(update) for place in batch)
    assert taken == list(range(update * shares[0].total, (update + 1) * shares[0].total))


@FEW
@given(st.lists(st.booleans(), max_size=20), st.integers(1, 4))
def test_what_is_missing_is_made_once_whoever_makes_it(missing, processes):
    items = list(range(len(missing)))

    class State:
        num_processes = processes
        process_index = 0

        def wait_for_everyone(self):
            pass

    with pytest.MonkeyPatch.context() as patched:
        # Every process finds what it has looked at; gathered, all know all.
        patched.setattr("runtime.processes.gather_object", lambda _: [place for place in items if missing[place]])
        patched.setattr("runtime.processes.start_process", lambda: State)
        State.wait_for_everyone = lambda: None
        made = []
        for State.process_index in range(processes):
            with shared_work(items, lambda item: missing[item]) as (everything, own):
                assert everything == [item for item in items if missing[item]]
                made += own
    assert sorted(made) == [item for item in items if missing[item]]


PROMPTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)


@FEW
@given(st.lists(PROMPTS, min_size=1, max_size=4, unique=True))
def test_every_image_of_a_plan_has_a_file_of_its_own(words):
    prompts = [f"{each} <emotion>" for each in words if "<emotion>" not in each] or ["<emotion>"]
    generate = load([]).generate.model_copy(update={"prompts": prompts, "images": 2, "emotions": ["awe"]})
    paths = list(plan_images(generate, TAXONOMY.emotions, 0, None))
    assert len({path.casefold() for path in paths}) == 2 * len(prompts)
    for path in paths:
        assert len(Path(path).parts) == 2
        assert len(Path(path).name.encode()) < 255


@given(TYPED, st.booleans(), st.sampled_from(["name", "letter"]))
def test_a_parser_never_raises_and_reads_what_is_allowed_alone(completion, reasoning, by):
    form = Answers(reasoning=reasoning, by=by)
    answer = extract_answer(completion, reasoning)
    assert answer is None or (answer and answer == answer.strip())
    for kind in kinds.KINDS:
        said = kind.read(completion, TAXONOMY.emotions, TAXONOMY, form)
        assert said is None or isinstance(said, bool | float) or said in (*TAXONOMY.emotions, "positive", "negative")
