"""The kinds of question, a file each: what one is, from its phrasings to its figures. Each file has the same names.

    NAME                 the kind's name, its file's, and its key in the sections `questions` and `rewards`
    SHARE, WEIGHT        the defaults of its share of the questions and of its reward's weight
    PHRASINGS            the texts of its questions, each asked equally often
    COLUMN               the column of what is read from its answers
    CURVES               the figures that are plotted and logged while a model trains: {figure: label}
    ALWAYS               answers that a policy may give whatever the question

    cases(taxonomy)                     how many equal cases a phrasing has
    draw(rounds, taxonomy, questions, confusability, rng)
                                        (asked emotion or None, true emotion) of every question of a phrasing: `rounds` times
                                        each case, what is asked first and the image after
    options(taxonomy, rng)              the options in the order of the prompt; () where it lists none
    text(phrasing, asked, options, answers)
                                        the question as it is asked
    truth(question, taxonomy)           what is true, as `read` returns it
    allowed(question, taxonomy, answers)
                                        every answer that the question allows
    right_answer(question, taxonomy, answers)
                                        the answer of supervised training
    read(answer, options, taxonomy, answers)
                                        what an answer says, or None where it says nothing, never an exception
    reward(question, said, taxonomy, rewards, confusability)
                                        what it earns, `said` being what `read` returned, or None
    score(question, log_q, scoring, taxonomy, answers)
                                        what the distribution over the allowed answers earns, quadratic or log; log_q: its
                                        logarithms
    likely_columns(taxonomy)            the columns of what `likely` returns, in a table of answers
    likely(question, probabilities, taxonomy, answers)
                                        what an evaluation keeps of that distribution, a number for each of these columns
    stated(table, taxonomy)             from a table of answers with these columns: (n,) a probability that the model states,
                                        and (n,) whether what it is of was true
    chance(taxonomy, rewards, confusability)
                                        what an answer at random earns
    blind_answers(taxonomy, answers)    {name: policy}, what a policy can answer without looking, given the question
    logged(questions, rewards, taxonomy)
                                        {name: number}, logged beside the reward while a model trains
    statistics(table, taxonomy)         {figure: Statistic} of its rows of a table of read answers
    metrics(taxonomy)                   {figure: Metric}, of the figures that tables and reports show

What a kind lacks is an AttributeError where it is used. To add a kind, write its file, name it in KINDS, and state its
defaults in config/config.yaml.
"""

from types import ModuleType

from config.errors import UserError
from config.understanding_settings import Questions, Rewards
from understanding.kinds import binary, misleading, multiple, valence

NAMES = ("NAME", "SHARE", "WEIGHT", "PHRASINGS", "COLUMN", "CURVES", "ALWAYS", "cases", "draw", "options", "text", "truth")
NAMES += ("allowed", "right_answer", "read", "reward", "score", "likely_columns", "likely", "stated", "chance")
NAMES += ("blind_answers", "logged", "statistics", "metrics")
KINDS: tuple[ModuleType, ...] = (binary, multiple, misleading, valence)


def kind_named(name: str) -> ModuleType:
    """Return the kind of that name. Raises KeyError where there is none."""
    return {kind.NAME: kind for kind in KINDS}[name]


def check_kinds(questions: Questions, rewards: Rewards) -> None:
    """Raise UserError for a share or a weight of a kind that is not in KINDS, and where every share is 0.

    Raises AttributeError for a kind that lacks one of NAMES.
    """
    for kind in KINDS:
        for name in NAMES:
            getattr(kind, name)
    known = [kind.NAME for kind in KINDS]
    for section, stated in (("questions", questions.by_kind), ("rewards", rewards.by_kind)):
        for name in stated:
            if name not in known:
                raise UserError(f"{section}.{name}: no such kind of question; there are {', '.join(known)}")
    if not any(shares(questions).values()):
        raise UserError(f"questions: the share of every kind is 0; set one of {', '.join(known)} above 0")


def shares(questions: Questions) -> dict[str, float]:
    """Return the share of every kind of the questions, by name."""
    return {kind.NAME: questions.by_kind.get(kind.NAME, kind.SHARE) for kind in KINDS}


def weights(questions: Questions, rewards: Rewards) -> dict[str, float]:
    """Return the weight of the reward of every kind that is asked, by name."""
    return {
        kind.NAME: rewards.by_kind.get(kind.NAME, kind.WEIGHT)
        for kind, share in zip(KINDS, shares(questions).values(), strict=True)
        if share
    }
