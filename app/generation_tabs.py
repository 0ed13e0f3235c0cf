"""The tabs that make images: Generate, Mix and Your photo."""

from functools import partial
from pathlib import Path

import gradio as gr

from app.generating import DRAWN, NONE, TYPED, typical_content
from app.generation_requests import MOST_SEED, STRIP, generate, mix_all, mix_two, photo, strip
from app.one_line import one_line
from app.opinions import views
from app.run_models import GENERATES, RunModels

MOST_IMAGES, MOST_STEPS = 16, 100  # of one request, for others wait for its end
AT_ONCE = dict(concurrency_id="models", concurrency_limit=1)  # of all that runs models; the rest queues


def generate_tab(models: RunModels) -> None:
    """Show the tab that makes images of an emotion."""
    emotions = list(models.taxonomy.emotions)
    with gr.Row():
        with gr.Column(min_width=300):
            emotion = gr.Radio(emotions, value=emotions[0], label="Emotion")
            source = gr.Radio([DRAWN, TYPED, NONE], value=DRAWN, label="Content")
            content = gr.Textbox(label="Your words", placeholder="tree", max_length=200, visible=False)
            count = gr.Slider(1, MOST_IMAGES, 4, step=1, label="Number of images")
            seeds, sliders = seed_fields(), fine_tuning(models)
            go, stop = buttons("Make images")
        with gr.Column(scale=2, min_width=300):
            gallery, made = result(models, columns=4)
    source.change(lambda chosen: gr.update(visible=chosen == TYPED), source, content, api_visibility="private")
    making = go.click(
        partial(generate, models),
        [emotion, source, content, count, *seeds, *sliders],
        [gallery, seeds[0]],
        api_name="generate",
        show_progress_on=made,
        **AT_ONCE,
    )
    stop.click(None, cancels=making, api_visibility="private")
    if examples := [[each, TYPED, shown] for each in emotions if (shown := typical_content(models, each))]:
        gr.Examples(examples, [emotion, source, content], label="Examples", examples_per_page=len(examples))


def mix_tab(models: RunModels) -> None:
    """Show the tab that mixes emotions."""
    emotions = list(models.taxonomy.emotions)
    pairs = models.taxonomy.opposites or ((emotions[0], emotions[-1]),)
    with gr.Row():
        with gr.Column(min_width=300):
            with gr.Tabs():
                with gr.Tab("Two emotions"):
                    first = gr.Dropdown(emotions, value=pairs[0][0], label="First emotion")
                    second = gr.Dropdown(emotions, value=pairs[0][1], label="Second emotion")
                    percent = gr.Slider(0, 100, 50, step=5, label="Percent of the second emotion")
                    go_two, stop_two = buttons("Make an image")
                    go_strip = gr.Button("Make a strip from the first to the second")
                    gr.Examples([list(pair) for pair in pairs], [first, second], label="Examples")
                with gr.Tab("All emotions"):
                    weights = [gr.Slider(0, 100, 50 * (each in pairs[0]), step=5, label=each) for each in emotions]
                    go_all, stop_all = buttons("Make an image")
            content = gr.Textbox(typical_content(models), label="Content", info="It may stay empty.", max_length=200)
            seeds, sliders = seed_fields(), fine_tuning(models)
        with gr.Column(scale=2, min_width=300):
            gallery, made = result(models, columns=len(STRIP))
    common = [content, *seeds, *sliders]
    shared = dict(outputs=[gallery, seeds[0]], show_progress_on=made, **AT_ONCE)
    making = [
        go_two.click(partial(mix_two, models), [first, second, percent, *common], api_name="mix_two", **shared),
        go_strip.click(partial(strip, models), [first, second, *common], api_name="strip", **shared),
        go_all.click(partial(mix_all, models), [*common, *weights], api_name="mix_all", **shared),
    ]
    for stop in (stop_two, stop_all):
        stop.click(None, cancels=making, api_visibility="private")


def photo_tab(models: RunModels, examples: list[str]) -> None:
    """Show the tab that puts an emotion on a photograph."""
    emotions = list(models.taxonomy.emotions)
    with gr.Row():
        with gr.Column(min_width=300):
            image = upload_field("Your photo")
            emotion = gr.Radio(emotions, value=emotions[0], label="Emotion")
            how_much = gr.Slider(5, 100, 50, step=5, label="Percent that is made anew", info="With less, more of it stays.")
            content = gr.Textbox(label="What the photo shows", info="It may stay empty.", max_length=200)
            seeds, sliders = seed_fields(), fine_tuning(models)
            go, stop = buttons("Change the photo")
        with gr.Column(scale=2, min_width=300):
            slider = gr.ImageSlider(label="Before and after", format="png", type="filepath", interactive=False)
            similarity = gr.Textbox(label="How different they look", interactive=False)
            with gr.Row(visible=models.judges):
                seen = [gr.Label(label=f"The judge sees {when}", min_width=250) for when in ("before", "after")]
    making = go.click(
        partial(photo, models),
        [image, emotion, how_much, content, *seeds, *sliders],
        [slider, seeds[0], *seen, similarity],
        api_name="photo",
        show_progress_on=similarity,
        **AT_ONCE,
    )
    stop.click(None, cancels=making, api_visibility="private")
    if examples:
        gr.Examples([[each] for each in examples], [image], label="Examples", examples_per_page=len(examples))


def upload_field(label: str) -> gr.Image:
    """Show a field for an image, which is handed over as the file that was uploaded: `check_upload` opens it."""
    image = gr.Image(label=label, height=280, type="filepath", sources=["upload", "clipboard"], buttons=[])
    image.preprocess = lambda uploaded: uploaded and uploaded.path  # Gradio's would open it, with errors of its own
    return image


def seed_fields() -> list[gr.Component]:
    """Show the seed, and the box that asks for another one each time."""
    return [
        gr.Number(0, label="Seed", info="The same seed gives the same image.", precision=0, minimum=0, maximum=MOST_SEED),
        gr.Checkbox(True, label="A new seed each time"),
    ]


def fine_tuning(models: RunModels) -> list[gr.Slider]:
    """Show the sliders that all images share: strength, variety, guidance and steps. They start as the run's own images."""
    ran = models.settings_of(*GENERATES).generate
    with gr.Accordion("More settings", open=False):
        return [
            gr.Slider(0, 2, ran.strength, step=0.05, label="Strength", info="How much the emotion changes the image."),
            gr.Slider(0, 2, ran.spread, step=0.05, label="Variety", info="With less, images are more typical."),
            gr.Slider(1, 20, ran.guidance_scale, step=0.5, label="Guidance", info="How closely images follow their words."),
            gr.Slider(1, MOST_STEPS, ran.steps, step=1, label="Steps", info="More steps take longer."),
        ]


def buttons(what: str) -> tuple[gr.Button, gr.Button]:
    """Show what starts the work, and what stops it."""
    with gr.Row():
        return gr.Button(what, variant="primary"), gr.Button("Stop", variant="stop", min_width=80, scale=0)


def result(models: RunModels, columns: int) -> tuple[gr.Gallery, gr.Textbox]:
    """Show the gallery, and what is said of the image in it that is clicked."""
    gallery = gr.Gallery(
        label="Images",
        format="png",
        columns=columns,
        object_fit="contain",
        height="auto",
        interactive=False,
        buttons=["download", "fullscreen"],
    )
    made = gr.Textbox(label="How the image was made", info="Click an image to see this.", lines=2, interactive=False)
    with gr.Row():
        labels = opinion_labels(models)

    def look(images: list[tuple[str, str]], clicked: gr.SelectData):
        with one_line():
            path, caption = images[clicked.index]
            return caption, *views(models, Path(path))

    gallery.select(look, gallery, [made, *labels], api_visibility="private", show_progress_on=labels, **AT_ONCE)
    return gallery, made


def opinion_labels(models: RunModels) -> list[gr.Label]:
    """Show how likely the judge, and the understanding model, find each emotion."""
    return [
        gr.Label(label="The judge sees", min_width=250, visible=models.judges),
        gr.Label(label="The understanding model sees", min_width=250, visible=models.understands),
    ]
