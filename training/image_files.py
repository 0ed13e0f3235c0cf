"""Which images training/inference.py makes, and how they and what is known of them lie on disk.

    awe/00000.png                                               the bare prompt <emotion>
    awe/a-photo-of-a-EMOTION-CONTENT-00000.png                  a prompt with <content>, one drawn for each image
    awe-0.7+fear-0.3/a-photo-of-a-EMOTION-bag-00000.png         a mix in another prompt, or with this content named
    awe/beach-00000.png                                         from the photograph beach.jpg
    awe.png                                                     a contact sheet
    manifest.jsonl                                              a line for each image: its path and its parameters

An image's parameters are a flat dict that is written into its PNG file. The plan is a dict of them by path.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from config.errors import UserError
from config.generation_settings import CONTENT, CONTENT_PROMPT, PLACEHOLDER, Generate
from emoset.images import ImageError, check_regular, load_image
from runtime.checking import check_room
from runtime.contact_sheet import contact_sheet
from runtime.files import write_atomically
from runtime.run_folder import log
from runtime.seeds import derived_seed
from training.contents import Contents

CHUNK = "emotion_images"
LONGEST = 150  # characters of a mix's name: a file's name has at most 255 bytes, and more stands before and behind it
SHEET_COLUMNS, SHEET_ROWS = 8, 32  # of a contact sheet, the rows being prompts


def plan_images(generate: Generate, emotions: Sequence[str], seed: int, contents: Contents | None) -> dict[str, dict]:
    """Return the parameters of every image, by its path in the images folder: what differs, and what all share.

    emotions: all that there are, in their order. An image's seed is that of generate.seeds at its number. Without
    generate.seeds it follows from `seed`, the emotion or mix, the prompt and the number. contents: what the generator draws
    for a prompt that says <content>, where generate.contents names none.
    Raises UserError where there is nothing to draw from.
    """
    mixes = named_mixes(generate, emotions)
    # A photograph has a content of its own.
    is_put_on = generate.contents or (contents and not generate.images_from)
    prompts = generate.prompts or [CONTENT_PROMPT if is_put_on else PLACEHOLDER]
    if contents is None and not generate.contents and (drawing := [prompt for prompt in prompts if CONTENT in prompt]):
        raise UserError(
            f"generate.prompts: {drawing[0]!r} says {CONTENT}, and the generator was trained without contents to draw; name "
            "some with generate.contents, or train it with mapper.content_share above 0"
        )
    named = [
        (prompt, content)
        for prompt in prompts
        for content in (generate.contents if CONTENT in prompt and generate.contents else [None])
    ]
    images, plan = generate.images if generate.seeds is None else len(generate.seeds), {}
    for name, weights in mixes.items():
        for prompt, content in named:
            words = prompt.replace(CONTENT, content or CONTENT)
            for number in range(images):
                own_seed = generate.seeds[number] if generate.seeds else derived_seed(seed, name, words, number)
                shown = {"content": content or contents.of_image(weights, own_seed)} if CONTENT in prompt else {}
                plan[f"{name}/{_file_stem(words)}{number:05d}.png"] = {
                    "emotion": name,
                    "weights": weights,
                    "prompt": prompt,
                    **shown,
                    "number": number,
                    "seed": own_seed,
                    "steps": generate.steps,
                    "guidance_scale": generate.guidance_scale,
                    "strength": strength_of(prompt, generate.strength),
                    "spread": generate.spread,
                    "negative_prompt": generate.negative_prompt,
                }
    return plan


def strength_of(prompt: str, strength: float) -> float:
    """Return the strength with which an emotion acts in a prompt: 1 where it is alone, for there is nothing else to keep."""
    return 1.0 if prompt == PLACEHOLDER else strength


def from_photographs(plan: dict[str, dict], photographs: Mapping[str, dict], generate: Generate) -> dict[str, dict]:
    """Return a plan of every image of `plan` from each of the photographs: their own parameters, by their paths.

    Without generate.seeds an image's seed follows from that of `plan` and the photograph's path.
    """
    stems, started, taken = _photograph_stems(photographs), {}, set()
    for path, each in plan.items():
        number = f"{each['number']:05d}.png"
        start = path.removesuffix(number)
        for name, photograph in photographs.items():
            seed = each["seed"] if generate.seeds else derived_seed(each["seed"], name)
            place = f"{start}{stems[name]}{number}"
            if place.lower() in taken:  # "a <emotion>" from tree-x.jpg, and "a <emotion> tree" from x.jpg
                place = f"{start}{stems[name]}{_digest(start + name)}-{number}"
            taken.add(place.lower())
            started[place] = each | photograph | {"image_strength": generate.image_strength, "seed": seed}
    return started


def named_mixes(generate: Generate, emotions: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the weights of each emotion and mix of the settings, by name."""
    single = emotions if generate.emotions is None else generate.emotions
    return dict(_named(mix, emotions) for mix in [*({emotion: 1.0} for emotion in single), *generate.mixes])


def save_image(path: Path, image: Image.Image, parameters: dict) -> None:
    """Write a PNG with its parameters, whole or not at all."""
    text = PngInfo()
    text.add_text(CHUNK, json.dumps(parameters))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda beside: image.save(beside, pnginfo=text))


def read_parameters(path: Path) -> dict | None:
    """Return the parameters in a PNG file, or None where it is damaged, not there, or not one of ours."""
    try:
        check_regular(path)
        with Image.open(path) as image:
            parameters = json.loads(image.info[CHUNK])
            image.verify()
        with Image.open(path) as image:  # which verify leaves unusable, and it looks at check sums alone
            image.load()
        return parameters
    except Exception:  # damaged files make decoders raise whatever they stumble over
        return None


def most_bytes(parameters: dict, side: int) -> int:
    """Return the most that an image's PNG takes: no more than its pixels, and a header. side: the model's own."""
    side = parameters["resolution"] or side
    return 3 * parameters.get("width", side) * parameters.get("height", side) + 4096


def check_places(folder: Path, plan: dict[str, dict], side: int) -> None:
    """Raise UserError where the disk has no room for the images that are not there, or something stands in their way."""
    for parent in sorted({(folder / path).parent for path in plan}):
        if parent.exists() and not parent.is_dir():
            raise UserError(f"{parent}: is a file, and images go into a folder of this name; move it away")
    if folders := [path for path in plan if (folder / path).is_dir()]:
        raise UserError(f"{folder / folders[0]}: is a folder, and an image goes there; move it away")
    missing = [path for path in plan if not (folder / path).exists()]
    check_room(folder, sum(most_bytes(plan[path], side) for path in missing), f"{len(missing):,} images")


def write_manifest(folder: Path, plan: dict[str, dict]) -> None:
    """Write manifest.jsonl, in the order of the plan."""
    lines = [json.dumps({"path": path} | parameters) + "\n" for path, parameters in plan.items()]
    write_atomically(folder / "manifest.jsonl", lambda beside: beside.write_text("".join(lines), encoding="utf-8"))


def write_contact_sheets(folder: Path, plan: dict[str, dict], photographs: Path | None = None) -> None:
    """Write `<emotion>.png` for each emotion and mix: the first images of its first prompts, a row for each prompt.

    Where the contents of a row differ, each stands under its image. photographs: the folder of those that the images start
    from, which are then the first row.
    """
    sheets: dict[str, dict[str, list[str]]] = {}
    for path, parameters in plan.items():
        row = parameters["prompt"] if photographs else re.sub(r"\d+$", "", Path(path).stem)
        sheets.setdefault(parameters["emotion"], {}).setdefault(row, []).append(path)
    for name, rows in sheets.items():
        images, captions = {}, {}
        if photographs:
            first = [photographs / plan[path]["image"] for path in next(iter(rows.values()))[:SHEET_COLUMNS]]
            images["photographs"] = [image for path in first if (image := _readable(path))]
            captions["photographs"] = [""] * len(first)
        for paths in [*rows.values()][:SHEET_ROWS]:
            contents = {path: plan[path].get("content", "") for path in paths[:SHEET_COLUMNS]}
            shared = contents[paths[0]] if len(set(contents.values())) == 1 else CONTENT
            label = _as_read(plan[paths[0]]["prompt"].replace(CONTENT, shared), name)
            shown = {path: image for path in contents if (image := _readable(folder / path))}
            images[label] = [*shown.values()]
            captions[label] = [contents[path] if shared == CONTENT else "" for path in shown]
        under = captions if any(map(any, captions.values())) else None
        write_atomically(folder / f"{name}.png", contact_sheet(images, captions=under).save)


def _as_read(prompt: str, emotion: str) -> str:
    """Return a prompt with the emotion in it, as people write it: an awe tree."""
    with_article = re.sub(rf"\b([Aa])n? {PLACEHOLDER}", rf"\1{'n' * (emotion[0] in 'aeiou')} {PLACEHOLDER}", prompt)
    return with_article.replace(PLACEHOLDER, emotion)


def _readable(path: Path) -> Image.Image | None:
    try:
        return load_image(path)
    except ImageError as error:
        log.info(f"{error}; the contact sheet leaves it out")
        return None


def _named(mix: dict[str, float], emotions: Sequence[str]) -> tuple[str, dict[str, float]]:
    """Return the name of a mix and its weights, which sum to 1, to four digits. A long name ends in a hash of all of it."""
    total = sum(mix.values())
    weights = {emotion: float(f"{mix[emotion] / total:.4g}") for emotion in emotions if emotion in mix}
    if len(weights) == 1:
        return next(iter(weights)), weights
    name = "+".join(f"{emotion}-{weight:g}" for emotion, weight in weights.items())
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{_digest(name)}", weights


def _file_stem(prompt: str) -> str:
    """Return what stands in a file's name before the number: nothing for the bare placeholder, else the prompt.

    A hash is added for a prompt that cannot be read back from that, so that no two prompts share a name.
    """
    if prompt == PLACEHOLDER:
        return ""
    slug = prompt.lower().replace(PLACEHOLDER, " EMOTION ").replace(CONTENT, " CONTENT ")
    slug = re.sub(r"\W+", "-", slug).strip("-")[:60]
    if slug.replace("-", " ").replace("EMOTION", PLACEHOLDER).replace("CONTENT", CONTENT) != prompt:
        slug += f"-{_digest(prompt)}"
    return f"{slug}-"


def _photograph_stems(names: Iterable[str]) -> dict[str, str]:
    """Return what stands before the number in the names of images from each photograph: its own name, so that all differ."""
    stems = {name: str(PurePosixPath(name).with_suffix("")) for name in names}
    slugs = {name: re.sub(r"\W+", "-", stem).strip("-")[:60] for name, stem in stems.items()}
    times = Counter(slug.lower() for slug in slugs.values())
    plain = {name for name, slug in slugs.items() if slug == stems[name] and times[slug.lower()] == 1}
    return {name: f"{slug}-" if name in plain else f"{slug}-{_digest(name)}-" for name, slug in slugs.items()}


def _digest(text: str) -> str:
    """Return a few letters that tell names apart whose legible parts are the same."""
    return blake2b(text.encode(), digest_size=3).hexdigest()
