"""Make images as training/inference.py does, and keep of several the one that the reward likes best.

    python loop/inference.py --config config/demo.yaml
    python loop/inference.py generate.emotions=awe,fear "generate.prompts=a photo of a <emotion> bag" loop.best_of=8
    accelerate launch loop/inference.py loop.content_weight=0.2            # on the GPUs you set up

Every setting of training/inference.py works here too, for every emotion, mix and prompt. For each image the generator makes
`loop.best_of` candidates that differ by their noise alone, and `loop.reward` gives a score of each: log p(emotion | image)
of a network of the run, or the number that a file of yours returns. All images go to `<run>/loop/chosen/`. A PNG says of how
many it is the best, and by which reward. It takes `loop.best_of` times as long as one image, and the scoring. The log tells
both in seconds.

A model that has chosen cannot measure what it chose: evaluate such images by a judge that it shares no weights with.
"""

from runtime.script import read_settings, run

READS = ("data", "models.clip", "generate", "answers", "understanding", "loop")
read_settings(__name__, __doc__, *READS)

import time
from collections.abc import Sequence

from config.settings import Settings
from loop.scores import check_reward, load_reward, reward_key
from runtime.run_folder import log
from training.choosing import Score
from training.inference import make_all


def main(settings: Settings) -> None:
    began, scoring = time.monotonic(), []
    check_reward(settings)

    def load_score(contents: Sequence[str], others: Sequence[str]) -> Score:
        return timed(load_reward(settings, contents, others), scoring)

    choosing = {"best_of": settings.loop.best_of, "score": reward_key(settings)}
    make_all(settings, "loop/chosen", choosing, load_score, {"candidates of each image": f"{settings.loop.best_of}"})
    if scoring:
        images, whole = sum(count for count, _ in scoring), time.monotonic() - began
        spent = sum(seconds for _, seconds in scoring)
        log.info(f"{images:,} images were scored in {spent:.1f} s; {whole:.1f} s in all")


def timed(score: Score, seconds: list[tuple[int, float]]) -> Score:
    """Return the score, which adds to `seconds` how many images it saw at a time, and for how long."""

    def found(images, conditions):
        began = time.monotonic()
        scores = score(images, conditions)
        seconds.append((len(images), time.monotonic() - began))
        return scores

    return found


if __name__ == "__main__":
    run(main)
