"""What tests share: reading a data set; of imported data a taxonomy of three emotions, settings, and an import here."""

import pytest

from config.loading import load
from emoset import import_folder
from emoset.reading import read_emoset
from runtime.run_folder import log


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a data set, by default however many problems it has."""

    def run(root, *arguments, problems_allowed=1):
        places = [f"data.emoset={root}", f"data.cache={tmp_path / 'cache'}", f"data.problems_allowed={problems_allowed}"]
        settings = load([*places, *arguments])
        return read_emoset(settings.data, tmp_path, settings.machine.processes)

    return run


@pytest.fixture
def taxonomy(tmp_path):
    path = tmp_path / "three.yaml"
    sides = dict(calm="positive", dread="negative", joy="positive")
    path.write_text("".join(f'{name}: {{side: {side}, colour: "#112233"}}\n' for name, side in sides.items()))
    return path


@pytest.fixture
def settings(tmp_path, taxonomy):
    """Return a function that reads the settings of an import into tmp_path/data."""

    def read(*arguments):
        places = [f"data.emoset={tmp_path}/data", f"run={tmp_path}/run", f"data.cache={tmp_path}/cache"]
        return load([*places, f"data.taxonomy={taxonomy}", "machine.processes=1", *map(str, arguments)])

    return read


@pytest.fixture
def bring(settings, tmp_path):
    """Return a function that imports a data set in this process, and gives what it logged."""

    def run(*arguments):
        path = tmp_path / "run/import/log.txt"
        before = path.read_text() if path.exists() else ""
        import_folder.main(settings(*arguments))
        return path.read_text()[len(before) :]

    yield run
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
