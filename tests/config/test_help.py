"""What --help says of the settings, and what a script says before it has imported anything slow."""

import subprocess
import sys

from config.loading import leaf_fields
from config.section import ROOT
from config.settings import Settings
from config.text import allowed

HELP = """
import sys, runpy
sys.argv = [{script!r}, *{arguments!r}]
try: runpy.run_path({script!r}, run_name="__main__")
except (SystemExit, Exception): pass
print("HEAVY", [name for name in ("torch", "pandas", "numpy", "matplotlib", "PIL") if name in sys.modules])
"""


def help_of(script: str, *arguments: str) -> str:
    code = HELP.format(script=script, arguments=arguments)
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "HEAVY []" in shown
    return " ".join(shown.split())


def test_help_explains_the_keys_that_the_script_reads_and_loads_nothing_heavy():
    shown = help_of("training/dataset_balance.py", "--help")
    read = [key for key, _ in leaf_fields(Settings) if f" --{key} " in shown]
    assert {key.partition(".")[0] for key in read} == {"seed", "run", "check", "data", "balance", "machine"}
    assert "--help all" in shown


def test_help_all_explains_every_key_with_its_default():
    shown = help_of("training/dataset_balance.py", "--help", "all")
    for key, field in leaf_fields(Settings):
        assert f"--{key} {field.description}" in shown
    assert "[number, 0 to 1; default: 0.1]" in shown
    assert "[number, 0 to below 1; default: 0.2]" in shown


def test_an_error_in_the_config_loads_nothing_heavy():
    assert help_of("training/dataset_balance.py", "seed=many").endswith("HEAVY []")


def test_every_help_text_is_a_sentence_of_its_own():
    for key, field in leaf_fields(Settings):
        assert field.description[0].isupper() or field.description.split()[0] in allowed(field), key
        assert field.description.endswith("."), key


def test_every_number_has_a_lowest_and_a_highest_and_says_so():
    for key, field in leaf_fields(Settings):
        if "list of number" not in allowed(field):
            assert allowed(field).count("number") == allowed(field).count(" to "), key


def test_without_its_packages_a_script_says_how_to_install_them(tmp_path):
    script = ROOT / "training/dataset_balance.py"
    command = [sys.executable, "-S", script]
    result = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: yaml is not installed; in the project's folder: pip install")
    assert result.stderr.count("\n") == 1
