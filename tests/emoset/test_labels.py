import pytest

from emoset.labels import attribute_name, folder_name, parse_folder_name


@pytest.mark.parametrize("label", ["Alarm clock", "alarm_clock", "ALARM  CLOCK", " alarm clock "])
def test_one_spelling_for_all(label):
    assert attribute_name(label) == "alarm clock"


@pytest.mark.parametrize(
    ("attribute", "images", "folder"),
    [
        ("plant", 13094, "(13094) plant"),
        ("bakery/shop", 3, "(3) bakery%2Fshop"),
        ("petting animal (not cat)", 1, "(1) petting animal (not cat)"),
        ('a\\b:c*d?e"f<g>h|i%j', 2, "(2) a%5Cb%3Ac%2Ad%3Fe%22f%3Cg%3Eh%7Ci%25j"),
        ("%2f", 4, "(4) %252f"),
        ("café crème", 5, "(5) café crème"),
        ("ends with a dot.", 6, "(6) ends with a dot%2E"),
        ("..", 7, "(7) .%2E"),
        ("a\nb\x00", 8, "(8) a%0Ab%00"),
    ],
)
def test_folder_names_are_safe_and_read_back(attribute, images, folder):
    assert folder_name(attribute, images) == folder
    assert "/" not in folder
    if "\n" not in attribute:  # control characters do not survive attribute_name, which info.json's labels go through
        assert parse_folder_name(folder) == (attribute, images)


@pytest.mark.parametrize(("folder", "parsed"), [("(13094)Plant", ("plant", 13094)), ("(4)Alarm_clock", ("alarm clock", 4))])
def test_the_published_spelling_is_read(folder, parsed):
    assert parse_folder_name(folder) == parsed


@pytest.mark.parametrize("folder", ["plant", "(x) plant", "()", "(3)", "3 plant"])
def test_other_folders_are_none_of_ours(folder):
    assert parse_folder_name(folder) is None
