"""EmotionPipeline: Stable Diffusion that takes an emotion, an emotion on a content, or a weighted mix of emotions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from config.errors import UserError
from config.generation_settings import PLACEHOLDER
from runtime.hub import fingerprints, load_model
from training.composed_guidance import composed
from training.conditioning import encode, tokenize
from training.emotion_lora import LORA, load_lora, lora_on_last, save_lora
from training.emotion_space import EmotionSpace, emotion_weights
from training.mapper import EmotionMapper

GENERATOR = "generator.json"
Emotion = str | Mapping[str, float]


class EmotionPipeline(StableDiffusionPipeline):
    """Makes images of an emotion.

        pipe = EmotionPipeline.from_pretrained("runs/full/generator").to("cuda")
        pipe(emotion="awe")
        pipe(emotion={"awe": 0.7, "fear": 0.3})
        pipe(prompt="a photo of a <emotion> bag", emotion="sadness", emotion_strength=0.6)

    All else is as in StableDiffusionPipeline.
    """

    model_cpu_offload_seq = "mapper->text_encoder->image_encoder->unet->vae"
    # It is small, is never called, and has no parameters, which the next module's hook would look for.
    _exclude_from_cpu_offload = (*StableDiffusionPipeline._exclude_from_cpu_offload, "emotion_space")

    def __init__(
        self,
        vae,
        text_encoder,
        tokenizer,
        unet,
        scheduler,
        safety_checker,
        feature_extractor,
        mapper: EmotionMapper,
        emotion_space: EmotionSpace,
        image_encoder=None,
        requires_safety_checker: bool = False,
        trained_with: dict[str, str] | None = None,
    ):
        super().__init__(
            vae,
            text_encoder,
            tokenizer,
            unet,
            scheduler,
            safety_checker,
            feature_extractor,
            image_encoder,
            requires_safety_checker,
        )
        self.register_modules(mapper=mapper, emotion_space=emotion_space)
        self.register_to_config(trained_with=trained_with)  # of generator.json, for the folder that save_pretrained writes

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        base: str | None = None,
        safety_checker: bool | torch.nn.Module | None = False,
        **options,
    ):
        """Load a generator's folder, or what `save_pretrained` wrote; either may be the name of a repository on the Hub.

        A generator's folder names the Stable Diffusion it was trained on; `base` names another place of the same one.
        safety_checker: True loads that of the base, or of what `save_pretrained` wrote; or it is one itself. `options`, such
        as dtype, go to diffusers; those for the Hub to both downloads, but `revision` to the one of `folder` alone.
        Raises UserError where there is no generator, or no safety checker, or where the base is not the one that the mapper
        was trained on.
        """
        # Always given, for transformers would load its part of a pipeline in the precision that it was saved in.
        options["dtype"] = options.pop("torch_dtype", options.get("dtype", torch.float32))
        folder = Path(folder)
        if not folder.is_dir():
            revision = options.pop("revision", None)  # the base has others
            hub = {name: options[name] for name in ("token", "cache_dir", "local_files_only") if name in options}
            try:
                folder = Path(snapshot_download(str(folder), revision=revision, **hub))
            except (OSError, HFValidationError, RepositoryNotFoundError, ValueError):
                raise UserError(f"{folder}: no generator there; train one with training/main.py") from None
        if safety_checker is not True:
            options |= dict(safety_checker=safety_checker or None, requires_safety_checker=bool(safety_checker))
        if not (folder / GENERATOR).exists():
            if not (folder / "model_index.json").exists():
                raise UserError(f"{folder}: holds no {GENERATOR}, so it is no generator; train one with training/main.py")
            pipe = super().from_pretrained(folder, **options)
            _check_safety(pipe, safety_checker, folder)
            load_lora(pipe.unet, folder)
            return pipe
        about = json.loads((folder / GENERATOR).read_text(encoding="utf-8"))
        stable = load_model(StableDiffusionPipeline, base or about["base"], f"{folder / GENERATOR}: base", **options)
        _check_safety(stable, safety_checker, base or about["base"])
        if set(about["base_hashes"]).isdisjoint(fingerprints(stable.unet, stable.text_encoder)):
            raise UserError(f"{folder / GENERATOR}: was trained on another Stable Diffusion than {base or about['base']}")
        parts = {
            "mapper": EmotionMapper.from_pretrained(folder / "mapper", dtype=stable.unet.dtype),
            "emotion_space": EmotionSpace.from_pretrained(folder / "emotion_space", dtype=stable.unet.dtype),
        }
        kept = {"requires_safety_checker": stable.config.requires_safety_checker, "trained_with": about.get("trained_with")}
        pipe = cls(**stable.components, **parts, **kept)
        load_lora(pipe.unet, folder)
        return pipe

    def save_pretrained(self, folder: str | Path, **options) -> None:
        """Write a complete diffusers folder, with an ordinary U-Net, and the emotion's LoRA beside it in unet_lora/."""
        adapted = self.unet
        if LORA not in getattr(adapted, "peft_config", {}):
            return super().save_pretrained(folder, **options)
        save_lora(Path(folder), adapted)
        weights = adapted.state_dict()
        own = {name.replace(".base_layer", ""): weight for name, weight in weights.items() if ".lora_" not in name}
        with torch.device("meta"):
            self.unet = type(adapted).from_config(adapted.config)
        self.unet.load_state_dict(own, assign=True)
        try:
            super().save_pretrained(folder, **options)
        finally:
            self.unet = adapted

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        emotion: Emotion | Sequence[Emotion] | None = None,
        emotion_strength: float = 1.0,
        emotion_spread: float = 1.0,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        emotion_noise: torch.Tensor | None = None,
        **options,
    ):
        """Make num_images_per_prompt images of each prompt and emotion.

        prompt: with <emotion> where the emotion stands; default "<emotion>". One prompt or emotion serves all of the other.
        emotion: a name, or weights by name. None: plain Stable Diffusion.
        emotion_strength: scales what the emotion adds to the guidance of the prompt without it; 0 leaves the prompt
        alone, 1 is plain guidance, more exaggerates. Other values than 0 and 1 cost half as much time again.
        emotion_spread: scales the scatter of emotion vectors around their emotion's mean, as the truncation trick of BigGAN
        (Brock et al. 2019) does: below 1 images are truer to their emotion and more alike; 1 is the Gaussian itself.
        generator: one, or one for each image, which then does not depend on what else is made beside it.
        emotion_noise: (images, dimension) standard normal, for the emotion vectors. None draws it from `generator`.
        Raises UserError for an unknown emotion, a prompt without <emotion>, and other prompts that cannot be, among them
        prompt_embeds beside an emotion.
        """
        if emotion is None:
            if any(PLACEHOLDER in each for each in _listed(prompt)):
                raise UserError(f"prompt {prompt!r}: says {PLACEHOLDER}, but no emotion is given")
            shared = dict(negative_prompt=negative_prompt, num_images_per_prompt=num_images_per_prompt, generator=generator)
            with lora_on_last(self.unet, 0):
                return super().__call__(prompt, **shared, **options)

        for name in ("prompt_embeds", "negative_prompt_embeds"):
            if options.pop(name, None) is not None:
                raise UserError(f"{name}: cannot be given with an emotion, which is put into the words of a prompt")
        prompts, emotions, negatives = (
            [each for each in listed for _ in range(num_images_per_prompt)]
            for listed in _checked(prompt, emotion, negative_prompt)
        )
        if options.get("latents") is None:  # before the emotion's: a prompt without one starts from the same latents
            options["latents"] = self._latents(len(prompts), generator, options.get("height"), options.get("width"))
        vectors = self._emotion_vectors(emotions, emotion_spread, emotion_noise, generator)
        conditioned = self._encode(prompts, self.mapper(vectors))
        conditions = [(1.0, conditioned)]
        if emotion_strength != 1:
            contents = [" ".join(each.replace(PLACEHOLDER, " ").split()) for each in prompts]
            conditions = [(1 - emotion_strength, self._encode(contents))]
            conditions += [(emotion_strength, conditioned)] if emotion_strength else []
        with composed(self.unet, conditions), lora_on_last(self.unet, len(prompts) if emotion_strength else 0):
            return super().__call__(
                prompt_embeds=conditions[0][1],
                negative_prompt_embeds=self._encode(negatives),
                generator=generator,
                **options,
            )

    def _latents(self, images: int, generator, height: int | None, width: int | None) -> torch.Tensor:
        """Return the noise (images, C, h, w) that the images start from."""
        sides = (side or self.unet.config.sample_size * self.vae_scale_factor for side in (height, width))
        shape = (images, self.unet.config.in_channels, *(side // self.vae_scale_factor for side in sides))
        return randn_tensor(shape, generator, self._execution_device, self.text_encoder.dtype)

    def _emotion_vectors(
        self, emotions: list[Emotion], spread: float, noise: torch.Tensor | None, generator
    ) -> torch.Tensor:
        """Return an emotion vector for each of the emotions, (images, dimension)."""
        device, space = self._execution_device, self.emotion_space
        weights = torch.stack([emotion_weights(each, space.emotions) for each in emotions]).to(device)
        if noise is None:
            noise = randn_tensor((len(emotions), space.config.dimension), generator, device, torch.float32)
        # Moved by hand: offloading moves a module when it is called, and the emotion space never is.
        return space.to(device).sample(weights, spread * noise.to(device))

    def _encode(self, prompts: list[str], embeddings: torch.Tensor | None = None) -> torch.Tensor:
        tokenized = tokenize(self.tokenizer, prompts, self.mapper.config.tokens).to(self._execution_device)
        return encode(self.text_encoder, tokenized, embeddings)


def _check_safety(pipe: StableDiffusionPipeline, wanted, place: str | Path) -> None:
    if wanted is True and pipe.safety_checker is None:
        raise UserError(f"safety_checker=True: {place} has none; give a safety checker itself, or False")


def _checked(prompt, emotion, negative_prompt) -> list[list]:
    """Return prompts, emotions and negative prompts, equally many; raise UserError for those that cannot be."""
    prompts, emotions, negatives = _aligned(
        prompts=_listed(PLACEHOLDER if prompt is None else prompt),
        emotions=_listed(emotion),
        negative_prompts=_listed(negative_prompt or ""),
    )
    for each in prompts:
        if PLACEHOLDER not in each:
            raise UserError(f"prompt {each!r}: has no {PLACEHOLDER}; write it where the emotion should stand")
    if any(PLACEHOLDER in each for each in negatives):
        raise UserError(f"negative prompt: cannot say {PLACEHOLDER}; name what images should not show")
    return [prompts, emotions, negatives]


def _listed(value) -> list:
    return [] if value is None else [value] if isinstance(value, str | Mapping) else list(value)


def _aligned(**lists: list) -> list[list]:
    """Repeat what is there once as often as the others have items; raise UserError where that does not make them equal."""
    length = max(map(len, lists.values()))
    repeated = [each * length if len(each) == 1 else each for each in lists.values()]
    if {len(each) for each in repeated} != {length} or not length:
        counts = ", ".join(f"{len(each)} {name.replace('_', ' ')}" for name, each in lists.items())
        raise UserError(f"{counts}: give as many of one as of the others, or one")
    return repeated
