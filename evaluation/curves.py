"""What the strength of an emotion does to content and emotion, and the weight of a mix to the judge."""

import numpy as np
import pandas as pd
from torch.nn.functional import normalize

from emoset.labels import EMOTIONS
from config.settings import Settings
from emoset.labels import attribute_name
from evaluation.columns import Views
from runtime.figures import of_mean
from evaluation.making import PAIRS, STRENGTHS, WEIGHTS
from evaluation.networks import clip_texts


def strength_curve(made: Views, judged: np.ndarray, settings: Settings) -> dict[str, dict]:
    """Return, by strength, figures of the images of `transfer/`: emotion_accuracy, clip_score, and content_accuracy.

    clip_score: 100 cos(image, "a photo of a {content}"), 0 where that is negative (Hessel et al. 2021, without their 2.5).
    content_accuracy: how often the content is the likeliest of the object classifier's labels, of contents that are.
    judged: (N, 8). There are as many images of each content as of the next.
    """
    parts = made.images["image_id"].str.split("/", expand=True)
    contents, strengths, emotions, seed = parts[1].to_numpy(), parts[2].to_numpy(), made.emotions, settings.seed
    names = list(settings.evaluate.contents)
    texts = clip_texts(settings, [f"a photo of a {name}" for name in names])
    wanted = texts[[names.index(content) for content in contents]]
    scores = 100 * (normalize(made.clip, dim=1) * wanted).sum(1).clamp(min=0).numpy()
    spelled = [{attribute_name(name) for name in label.split(",")} for label in made.object_labels]
    right = np.array([content in spelled[top] for content, top in zip(contents, made.objects.argmax(1), strict=True)])
    known = np.isin(contents, [name for name in names if any(name in each for each in spelled)])
    truth = np.array(EMOTIONS)[judged.argmax(1)] == emotions
    curve = {}
    for strength in map(str, STRENGTHS):
        here = strengths == strength
        curve[strength] = {
            "emotion_accuracy": of_mean(truth[here], emotions[here], seed),
            "clip_score": of_mean(scores[here], contents[here], seed),
        }
        if known.any():
            curve[strength]["content_accuracy"] = of_mean(right[here & known], contents[here & known], seed)
    return curve


def weight_curve(images: pd.DataFrame, judged: np.ndarray, seed: int) -> dict[str, dict]:
    """Return, by pair of emotions and weight of the second, the mean probability, of judged (N, 8), of each of the two."""
    parts = images["image_id"].str.split("/", expand=True)
    curve = {}
    for pair in PAIRS:
        name = "-".join(pair)
        for weight in map(str, WEIGHTS):
            here = ((parts[1] == name) & (parts[2] == weight)).to_numpy()
            one_group = np.zeros(here.sum())
            curve.setdefault(name, {})[weight] = {
                emotion: of_mean(judged[here][:, EMOTIONS.index(emotion)], one_group, seed) for emotion in pair
            }
    return curve
