"""EmotionPipeline: Stable Diffusion that takes an emotion, an emotion on a content, or a weighted mix of emotions."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import diffusers
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging
from diffusers.utils.torch_utils import randn_tensor

from config.errors import UserError
from config.generation_settings import PLACEHOLDER, STRENGTH
from runtime.files import settle
from training.choosing import Score, choose
from training.composed_guidance import composed
from training.conditioning import emotion_states
from training.contents import Contents, Emotion
from training.emotion_lora import LORA as LORA
from training.emotion_lora import EmotionLora, adapters_taken_out
from training.emotion_lora import save_lora as save_lora
from training.emotion_space import EmotionSpace, emotion_weights
from training.generator_parts import GENERATOR as GENERATOR
from training.generator_parts import check_safety, find_generator, load_on_base, load_whole
from training.image_files import strength_of
from training.mapper import EmotionMapper
from training.parent_options import check_options, check_own_options, takes_parents_options
from training.photographs import Photographs, fitted, image_to_image
from training.rows import of_plain, rows_of, starting_latents

logger = logging.get_logger(StableDiffusionPipeline.__module__)  # who asks for the parent's warnings gets these too


class EmotionPipeline(StableDiffusionPipeline):
    """Makes images of an emotion.

        pipe = EmotionPipeline.from_pretrained("runs/full/generator").to("cuda")
        pipe(emotion="awe")
        pipe(emotion={"awe": 0.7, "fear": 0.3}, content="bag")
        pipe(prompt="a photo of a <emotion> bag", emotion="sadness", emotion_strength=0.6)

    All else is as in StableDiffusionPipeline. Its adapters (load_lora_weights, set_adapters, fuse_lora, ...) are your own
    LoRAs: the one that was trained with the mapper is unet_lora, which they leave alone.
    """

    model_cpu_offload_seq = "mapper->text_encoder->image_encoder->unet->vae"
    # They are small, are never called, and have no parameters, which the next module's hook would look for.
    _exclude_from_cpu_offload = (*StableDiffusionPipeline._exclude_from_cpu_offload, "emotion_space", "unet_lora")
    _optional_components: ClassVar = [*StableDiffusionPipeline._optional_components, "unet_lora"]

    def __init__(
        self,
        vae: AutoencoderKL,  # annotated, for from_pipe takes over what has the type that is asked for
        text_encoder,
        tokenizer,
        unet: UNet2DConditionModel,
        scheduler,
        safety_checker,
        feature_extractor,
        mapper: EmotionMapper,
        emotion_space: EmotionSpace,
        image_encoder=None,
        requires_safety_checker: bool = False,
        trained_with: dict[str, str] | None = None,
        contents: dict[str, dict[str, int]] | None = None,
        unet_lora: EmotionLora | None = None,
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
        self.register_modules(mapper=mapper, emotion_space=emotion_space, unet_lora=unet_lora)
        self.register_to_config(trained_with=trained_with, contents=contents)  # of generator.json, for save_pretrained

    @property
    def contents(self) -> Contents | None:
        """What <content> is drawn from, or None where the generator was trained without contents."""
        return Contents.of(self.config.contents, self.emotion_space.emotions) if self.config.contents else None

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        base: str | None = None,
        safety_checker: bool | torch.nn.Module | None = False,
        **options,
    ):
        """Load a generator's folder, or a folder that `save_pretrained` wrote. You can also name a repository on the Hub.

        base: another place of the Stable Diffusion that the generator was trained on, whose name its folder holds.
        safety_checker: a model, or True for the one that comes with the base or with the saved folder.
        options: for diffusers, such as dtype. Options for the Hub go to both downloads, and `revision` to that of `folder`.
        Raises UserError if the generator is incomplete, if there is no safety checker, or if the base is not the one that
        the mapper was trained on.
        """
        # Always given, for transformers would load its part of a pipeline in the precision that it was saved in.
        options["dtype"] = options.pop("torch_dtype", options.get("dtype", torch.float32))
        folder, about = find_generator(folder, options)
        if safety_checker is not True:
            options |= dict(safety_checker=safety_checker or None, requires_safety_checker=bool(safety_checker))
        if "base_hashes" not in about:
            if base:
                raise UserError(f"base: {folder} holds its own Stable Diffusion; leave out base={str(base)!r}")
            pipe = load_whole(super().from_pretrained, folder, options)
            check_safety(pipe, safety_checker, folder)
            return pipe
        place = base or about["base"]
        stable, parts = load_on_base(folder, about, place, options)
        check_safety(stable, safety_checker, place)
        kept = {"trained_with": about.get("trained_with"), "contents": about.get("contents")}
        kept["requires_safety_checker"] = stable.config.requires_safety_checker
        return cls(**stable.components, **parts, **kept)

    def save_pretrained(self, folder: str | Path, **options) -> None:
        """Write a complete diffusers folder, with an ordinary U-Net, and the emotion's LoRA beside it in unet_lora/.

        Your own LoRAs are not written, unless they are fused; a warning says so.
        """
        if names := {name for listed in self.get_list_adapters().values() for name in listed} - self.fused_loras:
            logger.warning(f"save_pretrained: leaves out the LoRA {', '.join(sorted(names))}; load it again, or fuse it")
        with adapters_taken_out(self):
            super().save_pretrained(folder, **options)
            settle(Path(folder).rglob("*.safetensors"), Path(folder) / "model_index.json")

    @takes_parents_options
    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        emotion: Emotion | Sequence[Emotion] | None = None,
        emotion_strength: float | None = None,
        emotion_spread: float | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        emotion_noise: torch.Tensor | None = None,
        content: str | Sequence[str] | None = None,
        image: Photographs | None = None,
        image_strength: float | None = None,
        best_of: int | None = None,
        score: Score | None = None,
        **options,
    ):
        """Make num_images_per_prompt images of each prompt and emotion, or of each photograph.

        prompt: with <emotion> where the emotion stands, and perhaps <content>. Default: "a photo of a <emotion> <content>",
        or "<emotion>" where the generator knows no contents, or a photograph is given. One of anything serves all others.
        emotion: a name, or weights by name. None: plain Stable Diffusion.
        emotion_strength: scales what the emotion adds to the guidance of the prompt without it; 0 leaves the prompt
        alone, 1 is plain guidance, more exaggerates. Other values than 0 and 1 cost half as much time again. None: 0.8, as
        generate.strength has it, and 1 for a prompt that is the emotion alone.
        emotion_spread: scales the scatter of emotion vectors around their mean, as BigGAN's truncation trick (Brock et al.
        2019) does: below 1 images are truer to their emotion and more alike; 1 is the Gaussian itself. None: 1.
        generator: one, or one for each image, which then does not depend on what else is made beside it.
        emotion_noise: (images, dimension) standard normal, for the emotion vectors. None draws it from `generator`.
        content: what <content> stands for. None draws it by `generator` from p(attribute | emotion), mixed for a mix.
        image: photographs to start from (fitted in training/photographs.py says which). They keep their proportions, at the
        model's own number of pixels; `height` and `width` cut them instead.
        image_strength: how much of the photograph is replaced, above 0 to 1; diffusers calls it strength. None: 0.6.
        best_of, score: make so many candidates for each image and keep the one with the highest score(images, conditions)
        (training/choosing.py). The output then holds scores and chosen too.
        options: StableDiffusionPipeline's others. TypeError for one that it does not have, UserError for impossible values.
        """
        check_options(options, emotion is not None, image is not None)
        check_own_options(image is not None, image_strength, emotion_strength, emotion_spread)
        asked = prompt, emotion, content, negative_prompt, num_images_per_prompt, generator
        acting = {"emotion_strength": emotion_strength, "emotion_spread": emotion_spread, "emotion_noise": emotion_noise}
        if best_of not in (None, 1) or score is not None:
            start = {} if image is None else {"image": image, "image_strength": image_strength}
            return choose(self, best_of, score, asked, start, options | acting)
        make, photographs = super().__call__, {}
        if image is not None:
            sizes = options.pop("height", None), options.pop("width", None)
            make, photographs = image_to_image(self, image_strength, options), {"photographs": fitted(image, self, *sizes)}
        if emotion is not None:
            return self._with_emotion(make, asked, photographs, options, *acting.values())
        if useless := [name for name, value in {"content": content, **acting}.items() if value is not None]:
            raise UserError(f"{', '.join(useless)}: no effect without an emotion; give emotion too")
        plain = of_plain(prompt, negative_prompt, num_images_per_prompt, **photographs)
        return make(**plain, generator=generator, **options)

    def _with_emotion(self, make, asked: tuple, photographs: dict, options: dict, strength, spread, noise):
        """Return what `make`, diffusers' own pipeline, makes of the states of prompts with an emotion."""
        generator = asked[-1]
        prompts, _, emotions, negatives, *of_image = rows_of(*asked, self.contents, **photographs)
        images, scale = len(prompts), (options.get("cross_attention_kwargs") or {}).get("scale")
        if photographs:
            (options["image"],) = of_image
        elif options.get("latents") is None:  # before the emotion's: a prompt without one starts from the same latents
            size = options.get("height"), options.get("width")
            options["latents"] = starting_latents(self, images, generator, size)
        vectors = self._emotion_vectors(emotions, 1.0 if spread is None else spread, noise, generator)
        weights, states = self._conditions(prompts, vectors, strength, scale)
        negative = torch.cat([self._states(negatives, scale)] * len(weights), dim=1)
        with ExitStack() as acting:
            if self.unet_lora is not None and strength != 0:
                acting.enter_context(self.unet_lora.on_last(self.unet, images))
            acting.enter_context(composed(self.unet, weights, images))
            options |= {"prompt_embeds": states, "negative_prompt_embeds": negative, "generator": generator}
            return make(**options)

    def encode_prompt(
        self,
        prompt: str | Sequence[str] | None = None,
        device: torch.device | None = None,
        num_images_per_prompt: int = 1,
        do_classifier_free_guidance: bool = True,
        negative_prompt: str | Sequence[str] | None = None,
        prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        lora_scale: float | None = None,
        clip_skip: int | None = None,
        *,
        emotion: Emotion | Sequence[Emotion] | None = None,
        emotion_spread: float = 1.0,
        emotion_noise: torch.Tensor | None = None,
        content: str | Sequence[str] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return prompt_embeds and negative_prompt_embeds, each (images, L, width), for any pipeline of this model.

        Without an emotion it is StableDiffusionPipeline's. With one the arguments are as in __call__, at strength 1. A LoRA
        that was trained with the mapper acts within `with pipe.unet_lora.on_last(pipe.unet, images):`.
        """
        device = device or self._execution_device
        given = dict(prompt_embeds=prompt_embeds, negative_prompt_embeds=negative_prompt_embeds, clip_skip=clip_skip)
        if emotion is None:
            guided = do_classifier_free_guidance, negative_prompt
            return super().encode_prompt(prompt, device, num_images_per_prompt, *guided, lora_scale=lora_scale, **given)
        check_options(given, with_emotion=True)
        asked = prompt, emotion, content, negative_prompt, num_images_per_prompt, generator
        prompts, _, emotions, negatives = rows_of(*asked, self.contents)
        vectors = self._emotion_vectors(emotions, emotion_spread, emotion_noise, generator)
        states = emotion_states(self, prompts, self.mapper(vectors), lora_scale).to(device)
        return states, self._states(negatives, lora_scale).to(device) if do_classifier_free_guidance else None

    @classmethod
    def from_pipe(cls, pipeline: StableDiffusionPipeline, **options):
        """Return an EmotionPipeline on the models of another pipeline, as diffusers does, whose options these are.

        Raises UserError where neither the other pipeline nor `options` hold a mapper and an emotion space.
        """
        held = {name for name, part in (pipeline.components | options).items() if part is not None}
        if missing := [name for name in ("mapper", "emotion_space") if name not in held]:
            raise UserError(
                f"from_pipe: a {type(pipeline).__name__} has no {' and no '.join(missing)}; use "
                "EmotionPipeline.from_pretrained(generator), or give these"
            )
        return super().from_pipe(pipeline, **options)

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

    def _conditions(
        self, prompts: list[str], vectors: torch.Tensor, strength: float | None, scale: float | None
    ) -> tuple[list, torch.Tensor]:
        """Return weights of the conditions of guidance, for `composed`, and their states (B, conditions * L, width)."""
        states = emotion_states(self, prompts, self.mapper(vectors), scale)
        strengths = [strength_of(each, STRENGTH) if strength is None else strength for each in prompts]
        if set(strengths) == {1}:
            return [1.0], states
        plain = self._states([" ".join(each.replace(PLACEHOLDER, " ").split()) for each in prompts], scale)
        if set(strengths) == {0}:
            return [1.0], plain
        weights = torch.tensor([[1 - each for each in strengths], strengths], device=states.device)
        return list(weights.view(2, -1, 1, 1, 1)), torch.cat([plain, states], dim=1)

    def _states(self, prompts: list[str], scale: float | None) -> torch.Tensor:
        """Return the states (B, L, width) of prompts without an emotion, as the parent makes them."""
        return self.encode_prompt(prompts, self._execution_device, 1, False, lora_scale=scale)[0]


diffusers.EmotionPipeline = EmotionPipeline  # so that DiffusionPipeline.from_pretrained knows the class that a folder names
