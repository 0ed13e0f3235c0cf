import errno
import os

import pytest

from runtime.files import naming, read_json, write_atomically, write_json


@pytest.mark.parametrize("sync", [False, True])
def test_json_comes_back(tmp_path, sync):
    path = tmp_path / "file.json"
    assert read_json(path) is None
    for content in ({"a": [1, None, "é"]}, []):
        write_json(path, content, sync)
        assert read_json(path) == content
    assert os.listdir(tmp_path) == ["file.json"]


@pytest.mark.parametrize("before", [None, "old"])
def test_a_writer_that_fails_leaves_what_was_there(tmp_path, before):
    path = tmp_path / "file.txt"
    if before:
        path.write_text(before)

    def fail(beside):
        assert beside.suffix == ".txt"  # some writers go by it
        beside.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*file\.txt'"):
        write_atomically(path, fail)
    assert (path.read_text() if path.exists() else None) == before
    assert os.listdir(tmp_path) == (["file.txt"] if before else [])


def test_content_that_is_no_json_changes_nothing(tmp_path):
    write_json(tmp_path / "file.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "file.json", {"a": object()})
    assert read_json(tmp_path / "file.json") == 1


def test_an_error_that_names_its_file_keeps_the_name(tmp_path):
    with pytest.raises(OSError, match="its own"), naming(tmp_path):
        raise OSError(errno.EACCES, "Permission denied", "its own")
