"""Questions about what a drawn image shows, their answers, and the guesses of somebody who is unsure of its emotion.

The content is what the demo's vision-language model knows, as a large one does: demo/making/captions.py draws it uniformly,
so that its answers tell nothing of emotions. Of these the model sees guesses only, which leave GRPO something to find: they
go by every fourth thing, place, face or action, by no light or composition, and are a coin's toss else.
"""

from dataclasses import asdict, dataclass
from random import Random
from types import ModuleType

from config.understanding_settings import Answers
from demo.drawn.objects import OBJECTS
from demo.drawn.render import LIGHTS
from demo.drawn.scenes import SCENES
from demo.drawn.world import CUES, EMOTIONS, TAXONOMY, Cues
from demo.making.captions import ACTION_WORDS, FACE_WORDS
from emoset.labels import KINDS, attribute_name
from understanding.kinds import binary, misleading, multiple
from understanding.question import Question
from understanding.questions import ANSWER_ALONE, REASONING

# kind of content: {cue: how an answer names it}
NAMES = dict(
    object={name: attribute_name(name) for name in OBJECTS},
    scene={name: attribute_name(name) for name in SCENES},
    facial_expression=FACE_WORDS,
    human_action=ACTION_WORDS,
    light={name: name for name in LIGHTS},
    composition=dict(near="close", far="distant", tilted="tilted", many="repeated"),
)
# kind of content: questions for its name, questions for yes or no, claims
WORDINGS = dict(
    object=(
        ("What object is shown?", "What thing is in this image?", "Name the object in this image."),
        ("Is there {a_name} in this image?", "Does this image show {a_name}?"),
        ("there is {a_name} in this image", "this image shows {a_name}", "this is {a_name}"),
    ),
    scene=(
        ("What place is this?", "Where was this image taken?", "Name the scene of this image."),
        ("Is this place {a_name}?", "Was this image taken in {a_name}?"),
        ("this place is {a_name}", "this image was taken in {a_name}"),
    ),
    facial_expression=(
        ("What expression does the face have?", "How does this person look?"),
        ("Does this person look {name}?", "Is the face {name}?"),
        ("this person looks {name}", "the face is {name}"),
    ),
    human_action=(
        ("What is the person doing?", "Name the action in this image."),
        ("Is the person {name}?", "Does this image show somebody {name}?"),
        ("the person is {name}", "this image shows somebody {name}"),
    ),
    light=(
        ("What is the light like?", "How are the light and the colours of this image?"),
        ("Is the light {name}?", "Are the light and the colours {name}?"),
        ("the light is {name}", "the light and the colours are {name}"),
    ),
    composition=(
        ("How is the object shown?", "How does the object stand in this image?"),
        ("Is the object {name}?", "Is the object shown {name}?"),
        ("the object is {name}", "the object is shown {name}"),
    ),
)
YES_OR_NO = (
    "{open_question} Is {name} right? Answer yes or no.",
    "{question} Answer yes or no.",
    "Somebody says that {claim}. Is that true? Answer yes or no.",
)
RATING = (
    "{open_question} How sure are you, from 0 to 100, that {name} is right? Answer with a number.",
    "How sure are you, from 0 to 100, that {claim}? Answer with a number.",
    "From 0 to 100, to what extent do you think that {claim}? Answer with a number.",
    "Rate from 0 to 100 how well this describes the image: {claim}. Answer with the number.",
)
CHOICE = (
    "{open_question} Choose from {options}. Answer with its name.",
    "{open_question} It is one of {options}. Answer with its name.",
)
NONE = "none"  # of the options: what teaches a small model to compare, from which it is a step to yes or no
DESCRIPTION = ("Describe this image.", "Describe what this image shows.", "What is to be seen here? Describe it.")
FORMS = dict(name=2, yes_or_no=4, choice=4, rating=3, description=1)  # and their shares

# In the world's order, which goes by emotions: no emotion is without any.
TELLING = {kind: list(dict.fromkeys(name for names in CUES[kind].values() for name in names))[2::4] for kind in KINDS}
UNSURE = 0.3  # share of the guesses that are a coin's toss


@dataclass(frozen=True)
class ContentQuestion:
    """A question about what an image shows: of which kind of content, in which of FORMS, and the right answer.

    kind: one of NAMES, or "everything" for a description.
    """

    kind: str
    form: str
    prompt: str
    answer: str

    def is_right(self, answer: str) -> bool:
        """Whether an answer is right; a rating is, where it is on the right side of 50."""
        if self.form == "yes_or_no":
            return read(binary, answer) == read(binary, self.answer)
        if self.form == "rating":
            score = read(misleading, answer)
            return score is not None and score != 50 and (score > 50) == (read(misleading, self.answer) > 50)
        return answer.strip().casefold() == self.answer


def read(kind: ModuleType, answer: str) -> bool | float | None:
    """Return what an answer says, as questions of a kind without options read it."""
    return kind.read(answer, (), TAXONOMY, Answers())


def ask_content(cues: Cues, rng: Random, reasoning: bool) -> list[ContentQuestion]:
    """Draw a question about something that the image has, or two: whether it is what it is, and whether it is another."""
    shown = {kind: name for kind, name in asdict(cues).items() if name is not None}
    kind = rng.choices(list(shown), [2 if kind in KINDS else 1 for kind in shown])[0]
    form = rng.choices(list(FORMS), list(FORMS.values()))[0]
    right = NAMES[kind][shown[kind]]
    others = [name for name in NAMES[kind].values() if name != right]
    open_question, question, claim = map(rng.choice, WORDINGS[kind])
    if form == "description":
        kind, pairs = "everything", [(rng.choice(DESCRIPTION), describe(cues))]
    elif form == "name":
        pairs = [(open_question, right)]
    elif form == "choice":
        options, answer = _options(right, others, rng)
        pairs = [(rng.choice(CHOICE).format(open_question=open_question, options=", ".join(options)), answer)]
    else:
        frame = rng.choice(YES_OR_NO if form == "yes_or_no" else RATING)
        pairs = []
        for name in (right, rng.choice(others)):
            named = dict(name=name, a_name=_with_article(name))
            text = frame.format(
                open_question=open_question, question=question.format(**named), claim=claim.format(**named), **named
            )
            score = 5 * (rng.randint(15, 20) if name == right else rng.randint(0, 5))
            pairs.append((text, str(score) if form == "rating" else "yes" if name == right else "no"))
    ending = REASONING if reasoning else ANSWER_ALONE
    return [ContentQuestion(kind, form, f"{text} {ending}", answer) for text, answer in pairs]


def truths(cues: Cues) -> dict[str, bool]:
    """Return of every name of those kinds that an image has whether it shows that."""
    shown = {kind: name for kind, name in asdict(cues).items() if name is not None}
    return {name: cue == shown[kind] for kind in shown for cue, name in NAMES[kind].items()}


def describe(cues: Cues) -> str:
    """Describe an image in a few words: "a close spider in a corridor, night light"."""
    if cues.facial_expression:
        subject = _with_article(f"{FACE_WORDS[cues.facial_expression]} face")
    elif cues.human_action:
        subject = f"a person {ACTION_WORDS[cues.human_action]}"
    else:
        named = f"{NAMES['composition'][cues.composition]} {NAMES['object'][cues.object]}" if cues.object else None
        subject = " in ".join(_with_article(part) for part in (named, cues.scene and NAMES["scene"][cues.scene]) if part)
    return f"{subject}, {cues.light} light"


def guess_emotion(cues: Cues) -> dict[str, float]:
    """Return how likely each emotion seems to somebody who knows TELLING alone, and is unsure of it."""
    likelihoods = dict.fromkeys(EMOTIONS, 1.0)
    for kind, names in TELLING.items():
        if (name := getattr(cues, kind)) in names:
            for emotion, weights in CUES[kind].items():
                likelihoods[emotion] *= weights.get(name, 0) / sum(weights.values())
    total = sum(likelihoods.values())
    return {emotion: (1 - UNSURE) * each / total + UNSURE / len(EMOTIONS) for emotion, each in likelihoods.items()}


def draw_guess(cues: Cues, rng: Random) -> str:
    """Draw an emotion from `guess_emotion`."""
    guess = guess_emotion(cues)
    return rng.choices(list(guess), list(guess.values()))[0]


def guess_answer(question: Question, cues: Cues, rng: Random) -> str:
    """Draw an answer to a question about emotion from `guess_emotion`; asked emotions are true half of the time."""
    if question.kind == multiple.NAME:
        return draw_guess(cues, rng)
    p = guess_emotion(cues)[question.asked]
    p_true = p / (p + (1 - p) / (len(EMOTIONS) - 1))
    if question.kind == binary.NAME:
        return "yes" if rng.random() < p_true else "no"
    return str(5 * round(20 * rng.betavariate(4 * p_true, 4 * (1 - p_true))))


def completion(cues: Cues, answer: str, reasoning: bool) -> str:
    """Return the whole text of an answer, in the format that its question asks for."""
    return f"<think>{describe(cues)}</think><answer>{answer}</answer>" if reasoning else answer


def _options(right: str, others: list[str], rng: Random) -> tuple[list[str], str]:
    """Draw what to choose from, and the right answer: half of the lists offer NONE, which is right in half of these."""
    has_none, is_none = rng.random() < 0.5, rng.random() < 0.5
    wrong = rng.sample(others, min(len(others), rng.randint(1, 6)))
    options = wrong if has_none and is_none else [right, *wrong]
    rng.shuffle(options)
    return options + [NONE] * has_none, NONE if has_none and is_none else right


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
