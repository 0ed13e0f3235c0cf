"""The networks that a figure of the column `emogen` rests on, beside those of EmoGen's code."""

from pathlib import Path

from config.evaluation_settings import Evaluate
from config.section import ROOT

NETWORKS = ("judge", "fid_network", "lpips_network", "object_classifier", "scene_classifier")
CLIP = "clip-vit-large-patch14"
# How the last part of each name begins in EmoGen's code. Its judge is imported by training/import_emogen.py.
EMOGENS = {
    "clip": CLIP,
    "judge": "clip_emotion_classifier",
    "fid_network": "inception",
    "lpips_network": "alex",
    "object_classifier": "resnet50-",
    "scene_classifier": "resnet50_places365",
}
READ = {  # the networks that figures rest on
    "emotion_accuracy": ("judge",),
    "emotion_accuracy_two_way": ("judge",),
    "fid": ("fid_network",),
    "fid_half": ("fid_network",),
    "lpips": ("lpips_network",),
    "semantic_clarity": ("object_classifier", "scene_classifier"),
    "semantic_diversity": ("clip",),
}


def networks_used(evaluate: Evaluate, clip: str) -> dict[str, str | None]:
    """Return the names of the networks by what they are for. clip: as models.clip names it."""
    return {"clip": clip} | {name: getattr(evaluate, name) for name in NETWORKS}


def not_emogen(evaluate: Evaluate, clip: str) -> dict[str, str]:
    """Return by figure a warning that names its networks that are not EmoGen's; figures by EmoGen's have none.

    clip: as models.clip names it.
    """
    used, found = networks_used(evaluate, clip), {}
    for figure, names in READ.items():
        others = [used[name] or "a linear probe" for name in names if not _is_emogens(name, used[name])]
        if others:
            found[figure] = f"not EmoGen's: {', '.join(dict.fromkeys(others))}"
    return found


def _is_emogens(name: str, used: str | None) -> bool:
    if used is None:
        return False
    imported = Path(used) / "emotion_classifier.safetensors"
    if name == "judge" and any((place / imported).is_file() for place in (Path(), ROOT)):
        return True
    return Path(used).name.startswith(EMOGENS[name])
