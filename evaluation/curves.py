"""Figures over the strength of an emotion, the weight of a mix, and how much of a photograph is replaced."""

from pathlib import Path

import numpy as np
import pandas as pd

from config.settings import Settings
from evaluation.columns import Comparison
from evaluation.photograph_curve import ROW, photograph_curve
from evaluation.strength_and_weight import strength_curve, weight_curve
from evaluation.views import Views
from runtime.files import write_json


def write_curves(
    folder: Path,
    images: dict[str, pd.DataFrame],
    views: dict[str, Views],
    judged: dict[str, np.ndarray],
    comparison: Comparison,
    settings: Settings,
) -> dict | None:
    """Write curves.json, of the images of transfer, of fusion and of photographs; return transfer's figures at strength 1.

    images, views, judged: by row. Of each of the three there may be none. Without transfer, the result is None.
    """
    emotions, contents, seed = settings.data.taxonomy.emotions, list(settings.evaluate.contents), settings.seed
    content, curves = comparison.content, {"strength": {}, "fusion": {}, ROW: {}}
    if "transfer" in images:
        transfer = views["transfer"], content.shown(views["transfer"]), judged["transfer"]
        curves["strength"] = strength_curve(*transfer, emotions, contents, settings.models.clip, seed)
    if "fusion" in images:
        curves["fusion"] = weight_curve(images["fusion"], judged["fusion"], settings.data.taxonomy, seed)
    if ROW in images:
        started = images[ROW], content.shown(views[ROW]), judged[ROW]
        curves[ROW] = photograph_curve(*started, emotions, comparison.lpips, seed)
    write_json(folder / "curves.json", curves)
    return curves["strength"].get("1.0")
