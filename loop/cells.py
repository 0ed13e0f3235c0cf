"""What understanding finds hard: the expected error of a cell, an emotion on an attribute; and images that are copies."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.contents import Contents

PRIOR = 4  # images that the mean of its emotion counts for in a cell's error: most cells have few
COPIES = 0.01  # share of training images that are nearer to another one than what counts as a copy
HARDEST = 2 / 3  # of the cells, above which one is hard
COMPARED = 2000  # training images by which that distance is told


def cell_errors(table: pd.DataFrame, errors: np.ndarray) -> pd.Series:
    """Return the expected error of each cell, by (emotion, attribute).

    table: a row for each image and attribute (columns row, emotion, attribute). errors: (n,), of the images by row.
    """
    known = table.assign(error=errors[table["row"].to_numpy()])
    of_emotion = known.groupby("emotion")["error"].mean()
    cells = known.groupby(["emotion", "attribute"])["error"].agg(["sum", "count"])
    prior = of_emotion.reindex(cells.index.get_level_values("emotion")).to_numpy()
    return (cells["sum"] + PRIOR * prior) / (cells["count"] + PRIOR)


def is_hard_cell(table: pd.DataFrame, errors: pd.Series, count: int) -> np.ndarray:
    """Return (count,) whether the cells of each image, as of cell_errors, are among the hardest third on average."""
    cells = pd.MultiIndex.from_frame(table[["emotion", "attribute"]])
    of_image = pd.Series(errors.reindex(cells).to_numpy()).groupby(table["row"].to_numpy()).mean()
    return (of_image.reindex(range(count)) >= errors.quantile(HARDEST)).to_numpy()


def draw_cells(contents: Contents, errors: pd.Series) -> Contents:
    """Return the contents with p(attribute | emotion) times the error of the cell; of unknown cells, the mean of all."""
    cells = pd.MultiIndex.from_product([contents.emotions, contents.names])
    factors = errors.reindex(cells).fillna(errors.mean()).to_numpy().reshape(contents.shares.shape)
    shares = contents.shares * torch.tensor(factors)
    return replace(contents, shares=shares / shares.sum(1, keepdim=True))


def near_copies(made: Tensor, train: Tensor) -> np.ndarray:
    """Return (n,) whether features (n, D) are nearer to a training image's (N, D) than such images are to each other."""
    made, train = normalize(made.float(), dim=1), normalize(train.float(), dim=1)
    some = train[:: max(1, len(train) // COMPARED)]
    # The second largest: the largest is the cosine of an image with itself.
    among = torch.cat([(part @ train.T).topk(2, dim=1).values[:, 1] for part in some.split(512)])
    limit = among.quantile(1 - COPIES)
    return torch.cat([(part @ train.T).amax(1) for part in made.split(512)]).gt(limit).numpy()
