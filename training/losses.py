"""The mapper's losses, of EmoGen (Yang et al., CVPR 2024), as pure functions of batches."""

import torch
import torch.nn.functional as F


def diffusion_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error (B,) of each image's predicted noise (B, C, h, w)."""
    return F.mse_loss(predicted.float(), target.float(), reduction="none").mean((1, 2, 3))


def attribute_loss(texts: torch.Tensor, attributes: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the cross-entropy (B,) of each image's attribute, by cosine similarity over `temperature`.

    texts: (B, d) projected text features of the prompts. attributes: (A, d) those of all attribute names. targets: (B,)
    the rows of the right ones; -1, an attribute that is not among them, makes the loss 0.
    The published loss has no temperature (1): with cosines in [-1, 1] it stays near ln A.
    """
    cosines = F.normalize(texts.float(), dim=1) @ F.normalize(attributes.float(), dim=1).T
    return F.cross_entropy(cosines / temperature, targets, reduction="none", ignore_index=-1)


def emotion_loss(texts: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy (B,) of each image's emotion, by a linear classifier (K, d) of text features (B, d)."""
    return F.cross_entropy(F.linear(texts.float(), weight, bias), targets, reduction="none")


def total_loss(
    diffusion: torch.Tensor,
    attribute: torch.Tensor,
    emotion: torch.Tensor,
    alpha: torch.Tensor,
    attribute_weight: float,
    emotion_weight: float,
    discounted: bool,
) -> torch.Tensor:
    """Return L_diffusion + w_a alpha L_attribute + w_e L_emotion for each image (B,).

    alpha: (B,) the emotion confidence of the image's attribute, 0 to 1. discounted: L_diffusion times 1 - alpha, as
    published. Published weights: 0.01 and 0.
    """
    if discounted:
        diffusion = (1 - alpha) * diffusion
    return diffusion + attribute_weight * alpha * attribute + emotion_weight * emotion
