"""The page: its tabs, its looks, and how it is served."""

import gradio as gr

from app.generation_requests import ImageRequests
from app.generation_tabs import generate_tab, mix_tab, photo_tab
from app.run_models import RunModels
from app.understanding_tabs import ask_tab, run_tab
from emoset.model_card import about_data
from evaluation.run_files import COMMANDS

WAITING = 200  # requests that may queue; whoever comes then is told so
OLD = 3600  # seconds after which uploads and images are removed
BUTTON = dict(button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700")
# On a phone a gallery has as many columns as on a desk, of which the last would stick out; captions lack room.
PHONE = """@media (max-width: 640px) {
    .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) !important }
    .preview .caption { display: none }
}"""
# A gallery is as high as its images, or as an image that is clicked needs.
GALLERY = """.grid-wrap { min-height: 9rem !important; max-height: none !important }
.preview ~ .grid-wrap { min-height: 28rem !important }"""
# Its parameters stand below each image, whole. Gradio would cut them off, and lay them over it.
CAPTIONS = """.grid-container .thumbnail-item { aspect-ratio: auto !important; height: auto !important }
.grid-container .thumbnail-item > img { aspect-ratio: 1 }
.grid-container .caption-label { position: static !important; max-width: none !important; white-space: normal !important;
    border: 0 !important }"""
# Where a person with a keyboard is. A radio button is small, so its label is marked with it.
FOCUS = (
    ":is(input, button, a, textarea):focus-visible, label:has(input:focus-visible) { outline: 3px solid orange !important }"
)
STYLE = "\n".join((PHONE, GALLERY, CAPTIONS, FOCUS))
FONT = ["system-ui", "sans-serif"]  # of the system, for others would be fetched


def build_page(models: RunModels, examples: list[str]) -> gr.Blocks:
    """Return the page of a run. examples: image files to click, in Gradio's temporary folder."""
    with gr.Blocks(title="Emotion in images", analytics_enabled=False, delete_cache=(OLD, OLD)) as page:
        gr.Markdown(
            "# Emotion in images\n"
            f"Make images that show an emotion, and ask which emotion an image shows. Run: {models.run.name}."
        )
        requests = ImageRequests(models)
        page.unload(requests.work.stop)
        with gr.Tab("Generate"):
            generate_tab(requests) if models.generates else missing("generator", "a generator")
        with gr.Tab("Mix"):
            mix_tab(requests) if models.generates else missing("generator", "a generator")
        with gr.Tab("Your photo"):
            photo_tab(requests, examples) if models.generates else missing("generator", "a generator")
        with gr.Tab("Ask"):
            ask_tab(models, examples) if models.understands else missing("understanding", "an understanding model")
        with gr.Tab("The run"):
            run_tab(models)
        about = about_data(models.settings.data.emoset, models.taxonomy)
        limits = f"This run has learned from {about['data']}. Of each of its models:\n{about['limits']}"
        gr.Markdown(f"### What a model cannot do\n{limits}")
    return page.queue(max_size=WAITING)


def missing(stage: str, what: str) -> None:
    """Say that the run does not hold something, and what makes it."""
    gr.Markdown(f"This run does not hold {what}. `{COMMANDS[stage]}` trains one.")


def theme() -> gr.Theme:
    """Return Gradio's default looks, with letters of the system and enough contrast."""
    looks = gr.themes.Default(primary_hue="indigo", font=FONT, font_mono=["ui-monospace", "monospace"])
    readable = dict(block_info_text_color="*neutral_500", block_info_text_color_dark="*neutral_300")
    return looks.set(checkbox_border_color_dark="*neutral_400", **readable, **BUTTON)
