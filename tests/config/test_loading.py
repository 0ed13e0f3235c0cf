"""Settings from files and the command line: which win, how they are read, and what an error says."""

from pathlib import Path

import pytest
import yaml

from config.errors import UserError
from config.loading import RENAMED, dump, leaf_fields, load
from config.section import ROOT
from config.settings import Settings


@pytest.fixture
def overlay(tmp_path):
    def write(text: str, name: str = "mine.yaml") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_config_yaml_states_every_key_with_its_default():
    stated = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert stated == yaml.safe_load(dump(load([])))
    for name, value in yaml.safe_load(dump(Settings())).items():  # which know no kinds of question
        assert value == stated[name] or value.items() <= stated[name].items()


def test_the_demo_changes_only_known_keys():
    assert load(["--config", str(ROOT / "config/demo.yaml")]).run == ROOT / "runs/demo"


def test_the_published_presets_change_only_known_keys():
    understanding = load(["--config", str(ROOT / "config/understanding_published.yaml")])
    lora = (understanding.understanding.lora_rank, understanding.understanding.lora_alpha)
    assert lora == (64, 16)
    assert understanding.understanding.four_bit
    assert understanding.understanding.max_pixels == 256 * 28 * 28
    assert understanding.rewards.scoring == "reward"
    emogen = load(["--config", str(ROOT / "config/emogen.yaml")])
    assert emogen.balance.policy == "emogen"
    published = {"hidden_layers": 1, "hidden_size": 1024, "tokens": 1, "lora_rank": 0, "epochs": 1, "max_train_steps": None}
    published |= {"batch_size": 8, "learning_rate": 0.001, "weight_decay": 0.01, "schedule": "constant", "warmup_steps": 0}
    published |= {"alpha_threshold": 0.0, "alpha_discount": True, "attribute_weight": 0.01, "attribute_temperature": 1.0}
    published |= {"emotion_weight": 0.0, "content_share": 0.0, "pooled": "placeholder", "ema": None}
    assert published.items() <= emogen.mapper.model_dump().items()


def test_later_sources_win(overlay):
    first = overlay("seed: 1\nbalance: {temperature: 0.1, max_repeats: 2}", "first.yaml")
    second = overlay("balance: {temperature: 0.2}", "second.yaml")
    settings = load(["--config", first, "--config", second])
    assert (settings.seed, settings.balance.temperature, settings.balance.max_repeats) == (1, 0.2, 2)
    assert load(["--config", second, "--config", first]).balance.temperature == 0.1
    assert load(["balance.temperature=0.3", "--config", second]).balance.temperature == 0.3


@pytest.mark.parametrize(
    "form", [["data.kinds=scene,object"], ["--data.kinds=[scene,object]"], ["--data.kinds", "[scene, object]"]]
)
def test_three_ways_to_set_a_key(form):
    assert load(form).data.kinds == ["scene", "object"]


def test_a_value_may_hold_an_equals_sign(overlay):
    assert load(["--run", "/runs/lr=0.1"]).run.name == "lr=0.1"
    assert load(["--config", overlay("seed: 3", "a=b.yaml")]).seed == 3


def test_values_as_people_write_them(overlay):
    settings = load(["--config", overlay("data: {problems_allowed: 1e-3}\nbalance:\ndrawn:\n  # images: 5\n")])
    assert settings.data.problems_allowed == 0.001
    assert settings.balance == Settings().balance
    assert load(["data.problems_allowed=1e-3", "data.workers=null"]).data.problems_allowed == 0.001


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "data: {problem_allowed: 0.1}",
            "mine.yaml: data.problem_allowed: no such key; did you mean data.problems_allowed?",
        ),
        ("max_repeats: 1", "mine.yaml: max_repeats: no such key; did you mean balance.max_repeats?"),
        ("xyzzy: 1", "mine.yaml: xyzzy: no such key; --help lists every key"),
        ("seed: many", "mine.yaml: seed: 'many' is not allowed; allowed: whole number, 0 to 4294967295"),
        ("seed: true", "mine.yaml: seed: True is not allowed"),
        ("seed: 1.5", "mine.yaml: seed: 1.5 is not allowed"),
        ("seed: null", "mine.yaml: seed: null is not allowed"),
        ("seed: {a: 1}", "mine.yaml: seed: {'a': 1} is not allowed"),
        ("data: {decode: 1}", "mine.yaml: data.decode: 1 is not allowed; allowed: true | false"),
        ("data: {problems_allowed: 1.5}", "mine.yaml: data.problems_allowed: 1.5 is not allowed; allowed: number, 0 to 1"),
        ("machine: {processes: 0}", "machine.processes: 0 is not allowed; allowed: whole number, 1 to 256 or null"),
        ("mapper: {learning_rate: 0}", "mapper.learning_rate: 0 is not allowed; allowed: number, above 0 to 1"),
        ("mapper: {ema: 1.0}", "mapper.ema: 1.0 is not allowed; allowed: number, 0 to below 1 or null"),
        ("models: {resolution: 500}", "500 is not allowed; allowed: whole number, 32 to 2048, a multiple of 8"),
        (
            "generate: {mixes: [{awe: 0}]}",
            "generate.mixes: 0 is not allowed; allowed: list of {text: number, above 0",
        ),
        ("data: {emoset: 5}", "mine.yaml: data.emoset: 5 is not allowed; allowed: path"),
        ("balance: {policy: fair}", "balance.policy: 'fair' is not allowed; allowed: tempered | emogen"),
        ("balance: {splits: [train, dev]}", "balance.splits: 'dev' is not allowed; allowed: list of train | val | test"),
        ("data: 4", "mine.yaml: data: expected a section of keys, found 4"),
        ("- 1", "mine.yaml: expected lines of `key: value`, found list"),
        ("data: [1\nseed: 2", "mine.yaml, line 2, column 5: not valid YAML"),
        ("seed: 1\nseed: 2", "mine.yaml, line 2, column 1: not valid YAML: the key 'seed' stands twice"),
        ("[a]: 1", "mine.yaml, line 1, column 1: not valid YAML"),
        ("seed: \x00", "mine.yaml: not valid YAML"),
        ("seed: !!int abc", "mine.yaml, line 1, column 7: not valid YAML: !!"),
        ("seed: 2024-13-45", "mine.yaml: seed: '2024-13-45' is not allowed"),
        ("seed: !!timestamp x", "mine.yaml, line 1, column 7: not valid YAML: !!"),
        ("seed: !!bool x", "mine.yaml, line 1, column 7: not valid YAML: !!"),
        ("seed: !!float x", "mine.yaml, line 1, column 7: not valid YAML: !!"),
        ("data: &d {emoset: *d}", "mine.yaml: data.emoset: {'emoset': {...}} is not allowed; allowed: path"),
        ("generate: {emotions: [joy]}", "mine.yaml: generate.emotions: 'joy' is not allowed; data.taxonomy lists amusement"),
        ("generate: {mixes: [{joy: 1.0}]}", "mine.yaml: generate.mixes: 'joy' is not allowed; data.taxonomy lists"),
        ("data: {taxonomy: nowhere.yaml}", "mine.yaml: data.taxonomy: nowhere.yaml cannot be read as a taxonomy: No such"),
        ("questions: {vibes: 1}", "mine.yaml: questions.vibes: no such key"),
        ("questions: {binary: lots}", "mine.yaml: questions.binary: 'lots' is not allowed; allowed: number, 0 to 1000"),
        ("rewards: {binry: 1}", "mine.yaml: rewards.binry: no such key; did you mean rewards.binary?"),
        ("balance: !!map [1]", "mine.yaml: not valid YAML"),
        ("1: 2", "mine.yaml: 1: no such key"),
        ('run: "a\\0b"', "mine.yaml: run: 'a\\x00b' is not allowed; allowed: path"),
        ("balance: {max_repeats: 99999999999999999999}", "is not allowed; allowed: whole number, 1 to 1000"),
    ],
)
def test_an_error_in_a_file_is_one_line_with_file_and_key(overlay, text, message):
    with pytest.raises(UserError) as error:
        load(["--config", overlay(text)])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("generate.negative_prompt=a <emotion>", "generate.negative_prompt: 'a <emotion>' says <emotion>, which stands in"),
        ("generate.negative_prompt=<content>", "command line: generate.negative_prompt: '<content>' says <content>, which"),
        ("generate.contents=tree,<emotion>", "command line: generate.contents: '<emotion>' says <emotion>, which stands in"),
        ("data.emoset=", "command line: data.emoset: null is not allowed; allowed: path"),
        ("balance.temprature=1", "command line: balance.temprature: no such key; did you mean balance.temperature?"),
        ("--seed=-1", "command line: seed: -1 is not allowed; allowed: whole number, 0 to"),
        ("balance.max_repeats=[", "command line: balance.max_repeats: '[' is not allowed"),
        ("run=/tmp/\udcff", "command line: run: '/tmp/\\udcff' is no name in UTF-8; rename it"),
        ("seed=2024-13-45", "command line: seed: '2024-13-45' is not allowed"),
        ("seed=4294967296", "command line: seed: 4294967296 is not allowed; allowed: whole number, 0 to 4294967295"),
        ("run=data/EmoSet/image/run", "data/EmoSet/image/run lies among the images of data.emoset; name a folder"),
        ("awe", "command line: a setting is written key=value, found 'awe'"),
        ("--config", "command line: argument --config: expected one argument"),
        ("--config=nowhere.yaml", "nowhere.yaml: no such config file"),
        (f"--config={ROOT}", "cannot be read as a config file: Is a directory"),
    ],
)
def test_an_error_on_the_command_line(argument, message):
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        load([argument])
    assert message in str(error.value)


def test_the_error_names_the_source_that_set_the_value(overlay):
    bad = overlay("seed: x", "bad.yaml")
    assert load(["--config", bad, "seed=1"]).seed == 1
    with pytest.raises(UserError, match=r"bad\.yaml: seed"):
        load(["--config", bad, "--config", overlay("run: here", "good.yaml")])


def test_values_that_exclude_each_other():
    with pytest.raises(UserError, match=r"balance\.policy: emogen .* take human_action out of data\.kinds"):
        load(["balance.policy=emogen", "data.kinds=object,human_action"])


def test_no_is_a_word(overlay):
    assert load(["mapper.mixed_precision=no"]).mapper.mixed_precision == "no"
    settings = load(["--config", overlay("mapper: {mixed_precision: no, ema: null}\nanswers: {reasoning: false}")])
    assert (settings.mapper.mixed_precision, settings.answers.reasoning) == ("no", False)


def test_not_a_text_file(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match=r"binary\.yaml: not a text file"):
        load(["--config", str(tmp_path / "binary.yaml")])


def test_relative_paths_count_from_the_root_in_files_and_from_here_on_the_command_line(overlay, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(["--config", overlay("run: runs/x")]).run == ROOT / "runs/x"
    assert load(["run=runs/x"]).run == tmp_path / "runs/x"
    assert load(["predict.images=a.jpg,/b"]).predict.images == [tmp_path / "a.jpg", Path("/b")]
    assert load(["predict.images=[a.jpg]"]).predict.images == [tmp_path / "a.jpg"]


def test_the_resolved_config_reads_back_and_names_no_machine(overlay):
    settings = load(["seed=7", f"run={ROOT}/runs/7"])
    assert str(ROOT) not in dump(settings)
    assert load(["--config", overlay(dump(settings))]) == settings


def test_the_benchmarks_default_mapper_is_that_of_the_defaults():
    files = [f"--config={ROOT / file}" for file in ("config/demo.yaml", "benchmarks/default_mapper.yaml")]
    ours, default = load(files), load([])
    others = {"sample_every", "checkpoint_every", "epochs"}
    assert ours.mapper.model_dump(exclude=others) == default.mapper.model_dump(exclude=others)
    assert ours.emotion_space.covariance == default.emotion_space.covariance


@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("generate.negative_prompt=blurry, #watermark, text", "generate.negative_prompt", "blurry, #watermark, text"),
        ("generate.negative_prompt=1", "generate.negative_prompt", "1"),
        ("generate.negative_prompt==", "generate.negative_prompt", "="),
        ("generate.negative_prompt=null", "generate.negative_prompt", "null"),
        ("generate.negative_prompt={a: 1}", "generate.negative_prompt", "{a: 1}"),
        ("generate.negative_prompt= a ", "generate.negative_prompt", " a "),
        ("generate.negative_prompt=", "generate.negative_prompt", ""),
        ("generate.prompts=a <emotion> street #sunset", "generate.prompts", ["a <emotion> street #sunset"]),
        ("generate.prompts=masterpiece: <emotion> bag", "generate.prompts", ["masterpiece: <emotion> bag"]),
        ("generate.prompts=a <emotion> cup, red", "generate.prompts", ["a <emotion> cup, red"]),
        ("generate.prompts=[masterpiece] <emotion>", "generate.prompts", ["[masterpiece] <emotion>"]),
        ("generate.prompts=[a <emotion> bag, a <emotion> cup]", "generate.prompts", ["a <emotion> bag", "a <emotion> cup"]),
        ("understanding.lora_targets=q_proj, v_proj", "understanding.lora_targets", ["q_proj", "v_proj"]),
        ("evaluate.contents=bag, cup", "evaluate.contents", ["bag", "cup"]),
        ("evaluate.models=a, b", "evaluate.models", ["a", "b"]),
        ("evaluate.models=010", "evaluate.models", ["010"]),
        ("evaluate.judge=null", "evaluate.judge", None),
        ("evaluate.judge=10", "evaluate.judge", "10"),
        ("generate.emotions=awe, fear", "generate.emotions", ["awe", "fear"]),
        ("generate.emotions=null", "generate.emotions", None),
        ("generate.mixes=", "generate.mixes", []),
        ("data.kinds=", "data.kinds", []),
        ("source.classes={joy: amusement}", "source.classes", {"joy": "amusement"}),
        ("source.shares=.5, .25, .25", "source.shares", [0.5, 0.25, 0.25]),
        ("seed=010", "seed", 10),
        ("seed=+7", "seed", 7),
        ("generate.seeds=7", "generate.seeds", [7]),
        ("generate.seeds=7,08", "generate.seeds", [7, 8]),
        ("generate.strength=1", "generate.strength", 1.0),
        ("generate.strength=.5", "generate.strength", 0.5),
        ("mapper.ema=9e-1", "mapper.ema", 0.9),
        ("data.decode=True", "data.decode", True),
    ],
)
def test_the_command_line_is_taken_as_typed(argument, key, value):
    section, _, name = key.rpartition(".")
    settings = load([argument])
    assert getattr(getattr(settings, section) if section else settings, name) == value


@pytest.mark.parametrize(
    "argument", ["seed=1:30", "seed=0x10", "seed=1_000", "seed=", "seed=1.0", "generate.strength=1:30", "data.decode=yes"]
)
def test_what_is_no_decimal_number_is_refused(argument):
    with pytest.raises(UserError, match="is not allowed; allowed: "):
        load([argument])


def test_a_long_value_is_cut_in_the_message(overlay):
    for arguments in (["seed=" + "9" * 5000], ["--config", overlay("seed: " + "9" * 5000)], ["seed=" + "9" * 4000]):
        with pytest.raises(UserError, match=r"seed: .*\.\.\. is not allowed") as error:
            load(arguments)
        assert len(str(error.value)) < 250


def test_numbers_in_files_are_decimal_and_words_stay_words(overlay):
    text = "seed: 010\ngenerate: {negative_prompt: 2024-01-01, strength: 1e0}\nevaluate: {contents: ' bag , cup,'}"
    settings = load(["--config", overlay(text)])
    assert settings.seed == 10
    assert (settings.generate.negative_prompt, settings.generate.strength) == ("2024-01-01", 1.0)
    assert settings.evaluate.contents == ["bag", "cup"]
    with pytest.raises(UserError, match=r"mine\.yaml: seed: '1:30' is not allowed"):
        load(["--config", overlay("seed: 1:30")])


def test_a_section_that_is_none_is_an_error_whatever_the_command_line_says(overlay):
    with pytest.raises(UserError, match=r"mine\.yaml: data: expected a section of keys, found 3"):
        load(["--config", overlay("data: 3"), "data.emoset=here"])


def test_keys_that_were_renamed_still_work(overlay):
    old = "grpo: {answer_tokens: 6, tracker: none}\nquestions: {reasoning: false}\nmapper: {workers: 0}"
    settings = load(["--config", overlay(old), "data.workers=3"])
    assert (settings.answers.tokens, settings.answers.reasoning) == (6, False)
    assert settings.machine.model_dump() == {"processes": 3, "loaders": 0, "tracker": "none"}
    for new in RENAMED.values():
        assert new in dict(leaf_fields(Settings))
    assert load(["--config", overlay("mapper: {workers: 1}\ngrpo: {workers: 1}")]).machine.loaders == 1
    with pytest.raises(UserError, match=r"grpo\.workers is an older name of machine\.loaders, which has another"):
        load(["--config", overlay("mapper: {workers: 1}\ngrpo: {workers: 2}")])
    with pytest.raises(UserError, match=r"mine\.yaml: machine: expected a section of keys, found 3"):
        load(["--config", overlay("mapper: {workers: 1}\nmachine: 3")])
    with pytest.raises(UserError, match=r"mine\.yaml: answers\.tokens: 'many' is not allowed"):
        load(["--config", overlay("grpo: {answer_tokens: many}")])


def test_all_that_is_wrong_is_told_at_once(overlay):
    """Unknown keys, values out of bounds, and what values contradict, in their section and across sections."""
    file = overlay(
        "generate: {emotions: [joy, awe, fun], mixes: [{calm: 1}], prompts: [a, b], seeds: [1, 1]}\n"
        "mining: {lowest: 0.9, highest: 0.1}\nsource: {shares: [1, 1, 1]}\ngrpo: {group: 1, bta: 2}\nquestions: {vibes: 1}\n"
        "understanding: {four_bit: true, lora_rank: 0}\nbalance: {policy: emogen}\ndata: {kinds: [human_action]}\n"
    )
    with pytest.raises(UserError) as error:
        load(["--config", file, "seed=-1"])
    lines = str(error.value).splitlines()
    assert all("mine.yaml: " in line or line.startswith("command line: seed: ") for line in lines)
    for said in (
        "questions.vibes: no such key",
        "grpo.group: 1 is not allowed",
        "grpo.bta: no such key",
        "command line: seed: -1 is not allowed",
        "generate.prompts: 'a' says <emotion> 0 times",
        "generate.prompts: 'b' says <emotion> 0 times",
        "generate.seeds: one of [1, 1]",
        "mining.lowest: 0.9 is not less than",
        "source.shares: [1.0, 1.0, 1.0] are not shares",
        "understanding.four_bit: weights of 4 bits",
        "balance.policy: emogen is defined for object and scene alone; take human_action out",
    ):
        assert sum(said in line for line in lines) == 1, said
    assert len(lines) == 11, lines

    with pytest.raises(UserError) as error:
        load(["generate.emotions=joy,awe, fun", "generate.mixes=[{calm: 1}]", "mining.batch_size=0"])
    first, second, third = sorted(str(error.value).splitlines())
    assert first.startswith("command line: generate.emotions: 'joy', 'fun' are not allowed; data.taxonomy lists amusement")
    assert second.startswith("command line: generate.mixes: 'calm' is not allowed; data.taxonomy lists amusement")
    assert third.startswith("command line: mining.batch_size: 0 is not allowed; allowed: whole number, 1")

    with pytest.raises(UserError) as error:
        load(["--foo=1", "balance.temprature=1", "data=3"])
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == [
        "foo",
        "balance.temprature",
        "data is a section of keys; set data.<key>=value; --help lists them",
    ]
