import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from config.errors import UserError
from config.loading import allowed, dump, leaf_fields, load
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
    assert stated == yaml.safe_load(dump(Settings()))
    assert load([]) == Settings()


def test_the_demo_changes_only_known_keys():
    assert load(["--config", str(ROOT / "config/demo.yaml")]).run == ROOT / "runs/demo"


def test_the_published_presets_change_only_known_keys():
    understanding = load(["--config", str(ROOT / "config/understanding_published.yaml")])
    lora = (understanding.understanding.lora_rank, understanding.understanding.lora_alpha)
    assert lora == (64, 16)
    assert understanding.understanding.four_bit
    assert understanding.understanding.max_pixels == 256 * 28 * 28
    assert understanding.rewards.scoring == "published"
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
        ("data: {workers: 0}", "data.workers: 0 is not allowed; allowed: whole number, 1 to 256 or null"),
        ("mapper: {learning_rate: 0}", "mapper.learning_rate: 0 is not allowed; allowed: number, above 0 to 1"),
        ("mapper: {ema: 1.0}", "mapper.ema: 1.0 is not allowed; allowed: number, 0 to below 1 or null"),
        ("models: {resolution: 500}", "500 is not allowed; allowed: whole number, 32 to 2048, a multiple of 8"),
        ("generate: {mixes: [{awe: 0}]}", "sadness: number, above 0 to 1000, ...}"),
        ("data: {emoset: 5}", "mine.yaml: data.emoset: 5 is not allowed; allowed: path"),
        ("balance: {policy: fair}", "balance.policy: 'fair' is not allowed; allowed: tempered | emogen"),
        ("balance: {splits: [train, dev]}", "balance.splits: 'dev' is not allowed; allowed: list of train | val | test"),
        ("data: 4", "mine.yaml: data: expected a section of keys, found 4"),
        ("- 1", "mine.yaml: expected lines of `key: value`, found list"),
        ("data: [1\nseed: 2", "mine.yaml, line 2, column 5: not valid YAML"),
        ("seed: 1\nseed: 2", "mine.yaml, line 2, column 1: not valid YAML: the key 'seed' stands twice"),
        ("[a]: 1", "mine.yaml, line 1, column 1: not valid YAML"),
        ("seed: \x00", "mine.yaml: not valid YAML"),
        ("seed: !!int abc", "mine.yaml: not valid YAML"),
        ("seed: 2024-13-45", "mine.yaml: not valid YAML"),
        ("data: &d {emoset: *d}", "mine.yaml: not valid YAML: an anchor stands within itself"),
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
        ("data.emoset=", "command line: data.emoset: null is not allowed; allowed: path"),
        ("balance.temprature=1", "command line: balance.temprature: no such key; did you mean balance.temperature?"),
        ("--seed=-1", "command line: seed: -1 is not allowed; allowed: whole number, 0 to"),
        ("balance.max_repeats=[", "command line: balance.max_repeats: '[' is not allowed"),
        ("run=/tmp/\udcff", "command line: run: '/tmp/\\udcff' is not allowed; allowed: path"),
        ("seed=2024-13-45", "command line: seed: '2024-13-45' is not allowed"),
        ("seed=4294967296", "command line: seed: 4294967296 is not allowed; allowed: whole number, 0 to 4294967295"),
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
    settings = load(["--config", overlay("mapper: {mixed_precision: no, ema: null}\nquestions: {reasoning: false}")])
    assert (settings.mapper.mixed_precision, settings.questions.reasoning) == ("no", False)


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


def test_help_lists_every_key_with_its_default_and_loads_nothing_heavy():
    code = (
        "import sys, runpy; sys.argv = ['dataset_balance.py', '--help']\n"
        "try: runpy.run_path('training/dataset_balance.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print('HEAVY', [name for name in ('torch', 'pandas', 'numpy', 'matplotlib', 'PIL') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "HEAVY []" in shown
    words = " ".join(shown.split())
    for key, field in leaf_fields(Settings):
        assert f"--{key} {field.description}" in words
    assert "[number, 0 to 1; default: 0.1]" in words
    assert "[number, 0 to below 1; default: 0.2]" in words


def test_every_number_has_a_lowest_and_a_highest_and_says_so():
    for key, field in leaf_fields(Settings):
        assert allowed(field).count("number") == allowed(field).count(" to "), key


def test_a_script_without_the_project_installed_says_how_to_install_it(tmp_path):
    script = ROOT / "training/dataset_balance.py"
    result = subprocess.run([sys.executable, "-S", script], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: config is not installed; in the project's folder: pip install")
    assert result.stderr.count("\n") == 1
