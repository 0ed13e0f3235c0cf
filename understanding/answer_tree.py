"""All answers to a question as one tree of tokens: their probabilities from one forward pass of a row that they share.

What several answers begin with stands in the row once. A token sees the prompt and the tokens that lead to it, so its
probability is the one that it has in a row of its own, up to rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from understanding.packing import PER_TOKEN, mask_for, prompt_positions


@dataclass(frozen=True)
class AnswerTree:
    """The answers that a question allows, as a tree of tokens, in which answers that begin alike share their first nodes.

    Node 0 is the last token of the prompt. Every other node is a token of an answer that another token follows.
    tokens, parents: of the nodes from 1 on. A parent comes before its children.
    edges: (node, token) for each token that is predicted.
    paths: the numbers of the edges that each answer takes.
    """

    tokens: list[int]
    parents: list[int]
    edges: list[tuple[int, int]]
    paths: list[list[int]]

    @property
    def depths(self) -> list[int]:
        """How many tokens each node is after the prompt's last."""
        found = [0]
        for parent in self.parents:
            found.append(found[parent] + 1)
        return found

    @property
    def first(self) -> int:
        """The first node at which an answer's token is predicted."""
        return min(self.edges[edge][0] for path in self.paths for edge in path)

    def ancestors(self) -> Tensor:
        """Return which nodes each node sees, itself included: (N, N), True in a row for a node and those before it."""
        seen = np.eye(len(self.tokens) + 1, dtype=bool)
        for node, parent in enumerate(self.parents, start=1):
            seen[node] |= seen[parent]
        return torch.from_numpy(seen)


class Growth:
    """A tree of tokens while sequences are added to it.

    tokens, parents, edges: as an AnswerTree's. paths: what has been added.
    """

    def __init__(self):
        self.tokens, self.parents, self.edges, self.paths = [], [], [], []
        self._numbers: dict[tuple[int, int], int] = {}  # of the edges
        self._nodes: dict[int, int] = {}  # which node the token of an edge is

    def add(self, tokens: Sequence[int], after: Sequence[int] = ()) -> list[int]:
        """Return the numbers of the edges that tokens take after a path, or after the prompt; a path of the tree's own."""
        self.paths.append(self.grow(tokens, after)[len(after) :])
        return self.paths[-1]

    def grow(self, tokens: Sequence[int], after: Sequence[int] = ()) -> list[int]:
        """Return the numbers of the edges from the prompt to the last of tokens that come after a path."""
        path = [*after]
        for token in tokens:
            edge = (self._end(path), token)
            if edge not in self._numbers:
                self._numbers[edge] = len(self.edges)
                self.edges.append(edge)
            path.append(self._numbers[edge])
        return path

    def _end(self, path: list[int]) -> int:
        """Return the node of the last token of a path, which from now on something follows."""
        if not path:
            return 0
        if path[-1] not in self._nodes:
            parent, token = self.edges[path[-1]]
            self.tokens.append(token)
            self.parents.append(parent)
            self._nodes[path[-1]] = len(self.tokens)
        return self._nodes[path[-1]]

    def tree(self) -> AnswerTree:
        """Return the tree."""
        return AnswerTree(self.tokens, self.parents, self.edges, self.paths)


def answer_tree(answers: Sequence[Sequence[int]]) -> AnswerTree:
    """Return the tree of answers, each the tokens that are emitted after the prompt.

    >>> answer_tree([[7, 1, 9], [7, 9], [5, 9]])
    AnswerTree(tokens=[7, 1, 5], parents=[0, 1, 0], edges=[(0, 7), (1, 1), (2, 9), (1, 9), (0, 5), (3, 9)], \
paths=[[0, 1, 2], [0, 3], [4, 5]])
    """
    growth = Growth()
    for answer in answers:
        growth.add(answer)
    return growth.tree()


def common_prefix_length(rows: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all rows begin with alike."""
    return next(place for place, tokens in enumerate([*zip(*rows, strict=False), ()]) if len(set(tokens)) != 1)


def log_probabilities(logits: Tensor, trees: Sequence[AnswerTree], first: int = 0) -> list[Tensor]:
    """Return the log-probability of every answer of each tree, (A,), from the logits (B, N + 1 - first, V) of the nodes.

    first: the node that the logits begin with; no answer's token is predicted before it.
    """
    logits = logits.float()
    edges, taken, owners, answers = [], [], [], 0
    for row, tree in enumerate(trees):
        for path in tree.paths:
            taken += [len(edges) + edge for edge in path]
            owners += [answers] * len(path)
            answers += 1
        edges += [(row, max(node - first, 0), token) for node, token in tree.edges]  # none before the first is taken
    # Read at once: backwards, each reading fills a tensor as large as the logits.
    rows, nodes, tokens = torch.tensor(edges, device=logits.device).T
    log_p = logits[rows, nodes, tokens] - logits.logsumexp(-1)[rows, nodes]
    owners, taken = (torch.tensor(each, device=logits.device) for each in (owners, taken))
    found = torch.zeros(answers, device=logits.device).index_add(0, owners, log_p[taken])
    return list(found.split([len(tree.paths) for tree in trees]))


def greedy_path(
    tree: AnswerTree, likeliest: Sequence[int], forced: Sequence[int], ends: Sequence[int], most: int
) -> list[int] | None:
    """Return the tokens that greedy decoding emits; None where it leaves the tree, so that the tree cannot tell.

    likeliest: (N + 1,), the likeliest token at each node. forced: the tokens from node 0 to where decoding begins, which
    belong to the prompt. ends: tokens that end an answer. most: how many tokens are emitted at most.

    >>> tree = answer_tree([[7, 1, 9], [7, 9], [5, 9]])
    >>> greedy_path(tree, [7, 9, 9, 9], [], [9], 4), greedy_path(tree, [7, 3, 9, 9], [], [9], 4)
    ([7, 9], None)
    """
    nodes = {(parent, token): node for node, (token, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True), 1)}
    node, emitted = 0, []
    for token in forced:
        node = nodes.get((node, token))
        if node is None:
            return None
    while True:
        emitted.append(likeliest[node])
        if emitted[-1] in ends or len(emitted) == most:
            return emitted
        node = nodes.get((node, emitted[-1]))
        if node is None:
            return None


def with_trees(model: nn.Module, inputs: dict[str, Any], trees: Sequence[AnswerTree], first: int = 0) -> dict[str, Any]:
    """Return what a model is called with to get the logits of the nodes from `first` on, (B, N + 1 - first, V).

    inputs: of the model, prompts (B, P), padded on the left. model: not wrapped.
    """
    packed = pack_trees(inputs, prompt_positions(model, inputs), trees)
    packed["attention_mask"] = mask_for(model, packed["attention_mask"])
    rest = {name: each for name, each in inputs.items() if name not in (*packed, *PER_TOKEN)}
    nodes = packed["input_ids"].size(1) - inputs["input_ids"].size(1)
    return packed | rest | {"logits_to_keep": nodes + 1 - first}


def pack_trees(inputs: dict[str, Tensor], positions: Tensor, trees: Sequence[AnswerTree]) -> dict[str, Tensor]:
    """Return a model's inputs for rows of a prompt and its tree, (B, P + N), N being the most nodes that follow a prompt.

    inputs: input_ids and attention_mask (B, P), padded on the left. positions: position ids of the prompts, (..., B, P).
    Returns input_ids, position_ids (..., B, P + N) and attention_mask (B, 1, P + N, P + N), True where the row's token may
    look at the column's. After fewer nodes than N stands padding, which nothing else looks at.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    rows, prompt = ids.shape
    most = max(len(tree.tokens) for tree in trees)
    tokens = torch.zeros(rows, most, dtype=ids.dtype)
    depths = torch.zeros(rows, most, dtype=positions.dtype)
    nodes = torch.zeros(rows, most, most, dtype=torch.bool)
    for row, tree in enumerate(trees):
        count = len(tree.tokens)
        tokens[row, :count] = torch.tensor(tree.tokens, dtype=ids.dtype)
        depths[row, :count] = torch.tensor(tree.depths[1:], dtype=positions.dtype)
        nodes[row, :count, :count] = tree.ancestors()[1:, 1:]
    visible = torch.zeros(rows, prompt + most, prompt + most, dtype=torch.bool, device=ids.device)
    visible[:, :prompt, :prompt] = mask[:, None, :].expand(-1, prompt, -1).tril()
    visible[:, prompt:, :prompt] = mask[:, None, :]
    visible[:, prompt:, prompt:] = nodes.to(ids.device)
    visible |= torch.eye(prompt + most, dtype=torch.bool, device=ids.device)  # padding: a softmax over nothing is NaN
    return {
        "input_ids": torch.cat([ids, tokens.to(ids.device)], 1),
        "position_ids": torch.cat([positions, positions[..., -1:] + depths.to(ids.device)], -1),
        "attention_mask": visible[:, None],
    }
