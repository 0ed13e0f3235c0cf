"""Captions of what a drawn image shows: its things, place, composition and light, never an emotion.

Contents are drawn uniformly, each by itself, so that a model which learns these captions learns nothing of how the
drawn world's emotions prefer them: it knows content, as Stable Diffusion does.
"""

from random import Random

from demo.drawn.objects import OBJECTS
from demo.drawn.people import ACTIONS, FACES
from demo.drawn.render import COMPOSED, LIGHTS
from demo.drawn.scenes import SCENES
from demo.drawn.world import CONTENT, EMOTIONS, Cues
from emoset.labels import attribute_name

OPENINGS = ("a photo of", "an image of", "a picture of", "")
FACE_WORDS = dict(happy="happy", sad="sad", angry="angry", fear="fearful", disgust="disgusted", surprise="surprised")
ACTION_WORDS = {name: name.strip() for name in ACTIONS} | {"yoga": "doing yoga"}
COMPOSITION_WORDS = dict(near=("", "close"), far=("distant", "small"), tilted=("tilted",), many=("many", "three"))


def draw_content(rng: Random) -> Cues:
    """Draw the cues of an image with every name of a kind as likely as the next, whatever emotion it would suit."""
    cues = {"light": rng.choice(list(LIGHTS))}
    match rng.choices(list(CONTENT), list(CONTENT.values()))[0]:
        case "face":
            cues["facial_expression"] = rng.choice(list(FACES))
        case "action":
            cues["human_action"] = rng.choice(list(ACTIONS))
        case content:
            if content != "scene":
                cues["object"] = rng.choice(list(OBJECTS))
                cues["composition"] = rng.choice(list(COMPOSED))
            if content != "object":
                cues["scene"] = rng.choice(list(SCENES))
    return Cues(**cues)


def caption(cues: Cues, rng: Random, detail: float = 0.7) -> str:
    """Describe an image in a few lower-case words; each of its details is named with probability `detail`."""
    subject, place = _subject(cues, rng, detail), None
    if cues.scene:
        place = attribute_name(cues.scene)
        if not cues.object:
            subject, place = place, None
    light_first = rng.random() < 0.5
    light = cues.light if rng.random() < detail else ""
    words = [rng.choice(OPENINGS)]
    words += [light] if light and light_first else []
    words.append(subject)
    words += [f"in {place}"] if place and rng.random() < detail else []
    words += [f"in {light} light"] if light and not light_first else []
    text = " ".join(word for word in words if word)
    for opening in ("a photo of", "an image of", "a picture of"):  # an article, where it is a sentence and one thing
        if text.startswith(opening) and cues.composition != "many" and rng.random() < 0.7:
            first = text[len(opening) + 1]
            text = f"{opening} {'an' if first in 'aeiou' else 'a'} {text[len(opening) + 1 :]}"
    return text


def all_texts(rng: Random) -> list[str]:
    """Return texts that hold every word a prompt of the demo uses, for the tokenizer to be built from."""
    contents = [caption(draw_content(rng), rng) for _ in range(20_000)]
    return contents + [f"an image of {emotion}" for emotion in EMOTIONS] * 20


def _subject(cues: Cues, rng: Random, detail: float) -> str:
    if cues.facial_expression:
        return f"{FACE_WORDS[cues.facial_expression]} face"
    if cues.human_action:
        return f"person {ACTION_WORDS[cues.human_action]}"
    if not cues.object:
        return ""
    name = attribute_name(cues.object)
    composition = rng.choice(COMPOSITION_WORDS[cues.composition]) if rng.random() < detail else ""
    return f"{composition} {name}".strip()
