"""Write emotions and mixes as textual inversions, which diffusers and many other programs load into Stable Diffusion.

    python training/export.py
    python training/export.py generate.emotions=awe,fear "generate.mixes=[{awe: 0.7, fear: 0.3}]"

`<run>/textual_inversion/awe.safetensors` holds one tensor <awe> (tokens, width): what the generator's mapper makes of the
emotion's mean vector. In diffusers:

    pipe.load_textual_inversion("runs/full/textual_inversion/awe.safetensors")
    pipe("a photo of a <awe> tree")

Programs that name a textual inversion by its file call it awe. The image is that of EmotionPipeline at spread 0 and
strength 1. A LoRA that was trained with the mapper stays behind: it acts where an emotion is, which no such file can say.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "generate")

import torch

from config.settings import Settings
from runtime.checking import stops_here
from runtime.hub import load_model
from runtime.run_folder import log, open_run_folder
from runtime.tensors import write_tensors
from training.emotion_lora import FOLDER as LORA_FOLDER
from training.emotion_space import EmotionSpace, emotion_weights
from training.generator_parts import find_generator
from training.image_files import named_mixes
from training.inference import check_emotions
from training.mapper import EmotionMapper


def main(settings: Settings) -> None:
    # 1. The generator's mapper and emotion space; its Stable Diffusion is not needed.
    emotions, place = settings.data.taxonomy.emotions, settings.generate.generator or settings.run / "generator"
    mixes = named_mixes(settings.generate, emotions)
    generator, _ = find_generator(place, {})
    mapper = load_model(EmotionMapper, str(generator / "mapper"), "generator", dtype=torch.float32)
    space = load_model(EmotionSpace, str(generator / "emotion_space"), "generator", dtype=torch.float32)
    check_emotions(space.emotions, emotions, place)
    folder = open_run_folder(settings, "textual_inversion")
    if settings.check and stops_here(settings, {"files": str(len(mixes))}):
        return

    # 2. A file for each emotion and mix: the embeddings of its mean vector.
    for name, weights in mixes.items():
        vector = space.sample(emotion_weights(weights, emotions)[None], torch.zeros(1, space.config.dimension))
        with torch.no_grad():
            embeddings = mapper(vector)[0]  # (tokens, width)
        write_tensors(folder / f"{name}.safetensors", {f"<{name}>": embeddings})
    log.info(f"wrote {len(mixes)} textual inversions of {mapper.config.tokens} tokens each into textual_inversion/")
    if (generator / LORA_FOLDER).is_dir():
        log.info(f"{generator.name} has a LoRA too, in {LORA_FOLDER}/; without it, images show their emotion less")


if __name__ == "__main__":
    run(main)
