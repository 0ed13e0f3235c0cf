"""How tests change a copy of an EmoSet."""

import json


def first(root, split="train"):
    """Return the first entry of a split list: emotion, id, image, annotation."""
    return json.loads((root / f"{split}.json").read_text())[0]


def rewrite(path, change):
    """Write a JSON file anew, as a function changes or returns its content."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def change_entry(**changes):
    """Return a function that changes cells of the first training image's entry."""

    def change(root, image, label):
        def rows(content):
            names = ("emotion", "image_id", "image", "annotation")
            content[0] = [changes.get(name, cell) for name, cell in zip(names, content[0], strict=True)]

        rewrite(root / "train.json", rows)

    return change
