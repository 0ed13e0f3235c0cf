"""What CLIP alone tells of emotions: zero-shot, and by a linear probe on its image features (Radford et al. 2021)."""

from hashlib import blake2b

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from config.script import log, progress, write_atomically
from config.settings import Settings
from emoset.hub import fingerprint, load_model, resolve_model
from emoset.images import load_image
from emoset.labels import EMOTIONS
from understanding.model import start_process
from understanding.scoring import choice_figures

PROMPT = "an image of {}"


def clip_figures(images: pd.DataFrame, train: pd.DataFrame | None, settings: Settings) -> dict[str, dict]:
    """Return the figures of CLIP on the images (columns image_id, emotion, path), of `models.clip`, as scoring.figures does.

    train: the images that the probe is fitted on, the same columns; None: no probe. It chooses no hyperparameter by what it
    is measured on: the strength of its regularisation is scikit-learn's, on features of unit length times ten.
    """
    device = start_process().device
    model = load_model(CLIPModel, settings.models.clip, "models.clip", dtype=torch.float32).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(resolve_model(settings.models.clip))
    features = image_features(model, images, settings)
    with torch.no_grad():
        tokens = tokenizer([PROMPT.format(emotion) for emotion in EMOTIONS], padding=True, return_tensors="pt").to(device)
        texts = torch.nn.functional.normalize(model.get_text_features(**tokens).pooler_output, dim=1).cpu()
    truth = images["emotion"].to_numpy()
    said = np.array(EMOTIONS)[(features @ texts.T).argmax(1).numpy()]
    found = {"CLIP, zero-shot": choice_figures("multiple_forced", truth, said, settings.seed)}
    if train is not None:
        probe = LogisticRegression(max_iter=1000)
        probe.fit(image_features(model, train, settings).numpy() * 10, train["emotion"])
        said = probe.predict(features.numpy() * 10)
        found["CLIP, linear probe"] = choice_figures("multiple_forced", truth, said, settings.seed)
    return found


def image_features(model: CLIPModel, images: pd.DataFrame, settings: Settings) -> torch.Tensor:
    """Return the unit-length image features (N, D) of the images; kept in data.cache."""
    state = PartialState()
    listed = [(image_id, path.stat().st_mtime_ns) for image_id, path in zip(images["image_id"], images["path"], strict=True)]
    key = blake2b(f"{fingerprint(model)} {listed}".encode(), digest_size=8).hexdigest()
    cached = settings.data.cache / f"clip-{key}.safetensors"
    if state.is_main_process and not cached.exists():
        processor = AutoImageProcessor.from_pretrained(resolve_model(settings.models.clip))
        size, features = settings.evaluate.batch_size, []
        for first in progress(range(0, len(images), size), "CLIP features", -(-len(images) // size), unit=" batches"):
            batch = [load_image(path) for path in images["path"].iloc[first : first + size]]
            pixels = processor(images=batch, return_tensors="pt").pixel_values.to(model.device)
            with torch.no_grad():
                features.append(model.get_image_features(pixel_values=pixels).pooler_output.cpu())
        settings.data.cache.mkdir(parents=True, exist_ok=True)
        whole = torch.nn.functional.normalize(torch.cat(features), dim=1)
        write_atomically(cached, lambda path: save_file({"features": whole}, path))
        log.info(f"CLIP features of {len(images):,} images")
    state.wait_for_everyone()
    return load_file(cached)["features"]
