"""How emotions show in the drawn world, which is EmoSet's: which things, places, light and composition each prefers.

Every cue is drawn on its own, given the emotion, from the weights below. A few images take all their cues from the emotion
that theirs is most easily taken for. So the probability of each emotion, given the cues, is known exactly (`posterior`), and
with it the accuracy that the best possible classifier reaches.
"""

from dataclasses import dataclass, fields
from random import Random

from config.taxonomy import DEFAULT, read_taxonomy

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions
# How many images each emotion has, in relation to the others; the order is that of EmoSet's info.json.
PRIOR = dict(amusement=17, awe=13, contentment=14, excitement=17, anger=10, disgust=9, fear=10, sadness=10)
LOOK_ALIKE = dict(
    amusement="excitement",
    awe="contentment",
    contentment="awe",
    excitement="amusement",
    anger="fear",
    disgust="fear",
    fear="disgust",
    sadness="fear",
)
HARD = 0.04  # share of images whose cues are those of the look-alike
CONTENT = dict(object=50, scene=19, object_and_scene=19, face=6, action=6)


def _weights(text: str) -> dict[str, dict[str, int]]:
    """Read lines of `emotion: name weight, name weight, ...`."""
    table = {}
    for line in text.strip().splitlines():
        emotion, _, row = line.partition(":")
        cells = [cell[1:].rsplit(" ", 1) for cell in row.split(",")]
        table[emotion.strip()] = {name: int(weight) for name, weight in cells}
    return table


OBJECTS = _weights("""
    amusement: Balloon 8, Ice cream 5, Teddy bear 4, Pumpkin 2, Kite 2, Cat 1
    awe: Tree 8, Castle 6, Lighthouse 3, Boat 3, Airplane 2
    contentment: Tree 8, Flower 7, Cat 4, Coffee cup 2, House 2, Boat 1
    excitement: Football 7, Guitar 6, Kite 3, Balloon 2, Airplane 2, Car 2, Drum 2
    anger: Car 8, Traffic light 5, Knife 3, Cannon 1, Tree 1
    disgust: Toilet 7, Mushroom 5, Fish 2, Snake 2, Worm 1, Spider 1
    fear: Spider 6, Skull 5, Snake 3, Knife 2, Pumpkin 1, House 1, Tree 1
    sadness: Umbrella 7, Chair 4, House 3, Candle 2, Tree 2, Teddy bear 1
""")
SCENES = _weights("""
    amusement: amusement_park 6, beach 3, park 3
    awe: mountain_snowy 5, waterfall 4, ocean 3, forest 2, volcano 1
    contentment: wheat_field 4, park 5, bedroom 3, beach 3
    excitement: stage 5, football_field 5, amusement_park 2, street 1
    anger: boxing_ring 4, industrial_area 4, street 3, volcano 3
    disgust: landfill 5, bathroom 4, industrial_area 1
    fear: corridor 5, forest 4, cemetery 2, bathroom 1
    sadness: cemetery 5, street 4, ocean 1, bedroom 1
""")
FACES = _weights("""
    amusement: happy 6, surprise 3
    awe: surprise 7, happy 2
    contentment: happy 9, surprise 1
    excitement: happy 6, surprise 4
    anger: angry 9, disgust 1
    disgust: disgust 9, angry 1
    fear: fear 8, surprise 2
    sadness: sad 9, fear 1
""")
ACTIONS = _weights("""
    amusement: dancing 5, celebrating 4
    awe: yoga 6, celebrating 1
    contentment: yoga 8, dancing 1
    excitement: celebrating 6, dancing 3, boxing  2
    anger: boxing  9, crying 1
    disgust: cleaning toilet 9, crying 1
    fear: crying 5, boxing  3
    sadness: crying 9, yoga 1
""")
LIGHTS = _weights("""
    amusement: sunny 5, vivid 4, pastel 1
    awe: golden 7, clear 1, night 1, sunny 1
    contentment: pastel 7, sunny 2, golden 1
    excitement: vivid 5, night 3, red 2
    anger: red 8, murky 1, grey 1
    disgust: murky 8, grey 1, clear 1
    fear: night 8, murky 1, grey 1
    sadness: grey 8, night 1, pastel 1
""")
COMPOSITIONS = _weights("""
    amusement: many 6, near 2, tilted 1
    awe: far 7, near 2, many 1
    contentment: near 8, far 2
    excitement: tilted 7, many 2, near 1
    anger: near 5, tilted 5
    disgust: many 5, near 4, far 1
    fear: tilted 4, near 3, far 3
    sadness: far 8, near 2
""")
CUES = dict(
    object=OBJECTS, scene=SCENES, facial_expression=FACES, human_action=ACTIONS, light=LIGHTS, composition=COMPOSITIONS
)


@dataclass(frozen=True)
class Cues:
    """What an image shows. None: it has no such thing. Composition is that of its object, if it has one."""

    light: str
    object: str | None = None
    scene: str | None = None
    facial_expression: str | None = None
    human_action: str | None = None
    composition: str | None = None


def draw_cues(emotion: str, rng: Random) -> Cues:
    """Draw the cues of one image of `emotion`."""
    like = LOOK_ALIKE[emotion] if rng.random() < HARD else emotion
    cues = {"light": _draw(LIGHTS[like], rng)}
    match _draw(CONTENT, rng):
        case "face":
            cues["facial_expression"] = _draw(FACES[like], rng)
        case "action":
            cues["human_action"] = _draw(ACTIONS[like], rng)
        case content:
            if content != "scene":
                cues["object"] = _draw(OBJECTS[like], rng)
                cues["composition"] = _draw(COMPOSITIONS[like], rng)
            if content != "object":
                cues["scene"] = _draw(SCENES[like], rng)
    return Cues(**cues)


def posterior(cues: Cues) -> dict[str, float]:
    """Return P(emotion | cues) for each emotion: Bayes' rule over the weights of this module."""
    joint = {
        emotion: PRIOR[emotion] * ((1 - HARD) * _likelihood(cues, emotion) + HARD * _likelihood(cues, LOOK_ALIKE[emotion]))
        for emotion in PRIOR
    }
    total = sum(joint.values())
    return {emotion: value / total for emotion, value in joint.items()}


def _likelihood(cues: Cues, emotion: str) -> float:
    likelihood = 1.0
    for field in fields(cues):
        name = getattr(cues, field.name)
        if name is not None:
            weights = CUES[field.name][emotion]
            likelihood *= weights.get(name, 0) / sum(weights.values())
    return likelihood


def _draw(weights: dict[str, int], rng: Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
