"""The tabs that make images: Generate, Mix and Your photo."""

from collections.abc import Sequence
from functools import partial

import gradio as gr

from app.generating import DRAWN, NONE, TYPED, typical_content
from app.generation_requests import MOST_SEED, STRIP, ImageRequests
from app.one_line import one_line
from app.opinions import check_upload, views
from app.run_models import GENERATES, RunModels

MOST_IMAGES, MOST_STEPS = 16, 100  # of one request, for others wait for its end
AT_ONCE = dict(concurrency_id="models", concurrency_limit=1)  # of all that runs models; the rest queues


def generate_tab(requests: ImageRequests) -> None:
    """Show the tab that makes images of an emotion."""
    emotions = requests.models.taxonomy.emotions
    with gr.Row():
        with gr.Column(min_width=300):
            emotion = emotion_field(emotions)
            source = gr.Radio([DRAWN, TYPED, NONE], value=DRAWN, label="Content")
            content = gr.Textbox("", label="Your words", placeholder="tree", max_length=200, visible=False)
            count = gr.Slider(1, MOST_IMAGES, 4, step=1, label="Number of images")
            how = how_fields(requests.models)
            go, stop = buttons("Make images")
        with gr.Column(scale=2, min_width=300):
            gallery, made = result(requests.models, columns=4)
    source.change(lambda chosen: gr.update(visible=chosen == TYPED), source, content, api_visibility="private")
    making = go.click(
        requests.work.stoppable(requests.generate),
        [emotion, source, content, count],
        [gallery, how["seed"]],
        inputs_kwargs=how,
        show_progress_on=made,
        **AT_ONCE,
    )
    stop.click(None, cancels=making, api_visibility="private")
    shown = {each: typical_content(requests.models, each) for each in emotions}
    examples = {f"{each}, {content}": (each, TYPED, content) for each, content in shown.items() if content}
    field_examples(examples, [emotion, source, content])


def mix_tab(requests: ImageRequests) -> None:
    """Show the tab that mixes emotions."""
    emotions = list(requests.models.taxonomy.emotions)
    pairs = requests.models.taxonomy.opposites or ((emotions[0], emotions[-1]),)
    with gr.Row():
        with gr.Column(min_width=300):
            with gr.Tabs():
                with gr.Tab("Two emotions"):
                    first = gr.Dropdown(emotions, value=pairs[0][0], label="First emotion")
                    second = gr.Dropdown(emotions, value=pairs[0][1], label="Second emotion")
                    percent = gr.Slider(0, 100, 50, step=5, label="Percent of the second emotion")
                    go_two, stop_two = buttons("Make an image")
                    go_strip = gr.Button("Make a strip from the first to the second")
                    field_examples({" and ".join(pair): pair for pair in pairs}, [first, second])
                with gr.Tab("All emotions"):
                    weights = {each: gr.Slider(0, 100, 50 * (each in pairs[0]), step=5, label=each) for each in emotions}
                    go_all, stop_all = buttons("Make an image")
            typical = typical_content(requests.models)
            content = gr.Textbox(typical, label="Content", info="It may stay empty.", max_length=200)
            how = how_fields(requests.models)
        with gr.Column(scale=2, min_width=300):
            gallery, made = result(requests.models, columns=len(STRIP))
    shared = dict(outputs=[gallery, how["seed"]], show_progress_on=made, **AT_ONCE)
    stoppable = requests.work.stoppable
    making = [
        go_two.click(stoppable(requests.mix_two), [first, second, percent, content], inputs_kwargs=how, **shared),
        go_strip.click(stoppable(requests.strip), [first, second, content], inputs_kwargs=how, **shared),
        go_all.click(stoppable(requests.mix_all), content, inputs_kwargs=weights | how, **shared),
    ]
    for stop in (stop_two, stop_all):
        stop.click(None, cancels=making, api_visibility="private")


def photo_tab(requests: ImageRequests, examples: list[str]) -> None:
    """Show the tab that puts an emotion on a photograph."""
    with gr.Row():
        with gr.Column(min_width=300):
            image = upload_field("Your photo")
            emotion = emotion_field(requests.models.taxonomy.emotions)
            how_much = gr.Slider(5, 100, 50, step=5, label="Percent that is replaced", info="With less, more of it stays.")
            content = gr.Textbox("", label="What the photo shows", info="It may stay empty.", max_length=200)
            how = how_fields(requests.models)
            go, stop = buttons("Change the photo")
        with gr.Column(scale=2, min_width=300):
            slider = gr.ImageSlider(label="Before and after", format="png", type="filepath", interactive=False)
            similarity = gr.Textbox(label="How different they look", interactive=False)
            with gr.Row(visible=requests.models.judges):
                seen = [gr.Label(label=f"The judge sees {when}", min_width=250) for when in ("before", "after")]
    making = go.click(
        requests.work.stoppable(requests.photo),
        [image, emotion, how_much, content],
        [slider, how["seed"], *seen, similarity],
        inputs_kwargs=how,
        show_progress_on=similarity,
        **AT_ONCE,
    )
    stop.click(None, cancels=making, api_visibility="private")
    image_examples(examples, image)


def emotion_field(emotions: Sequence[str], label: str = "Emotion") -> gr.Radio:
    """Show the emotions to choose one from."""
    return gr.Radio(list(emotions), value=emotions[0], label=label)


def field_examples(examples: dict[str, Sequence[str]], fields: list) -> None:
    """Show a button for each example, by its name, which writes its values into the fields."""
    if examples:
        gr.Markdown("Examples")
    with gr.Row():
        for name, values in examples.items():
            gr.Button(name, size="sm", min_width=80).click(partial(tuple, values), None, fields, api_visibility="private")


def image_examples(examples: list[str], image: gr.Image) -> None:
    """Show images to click."""
    if examples:
        gr.Examples([[each] for each in examples], [image], label="Examples", examples_per_page=len(examples))


def upload_field(label: str) -> gr.Image:
    """Show a field for an image, which is handed over as the file that was uploaded: `check_upload` opens it."""
    image = gr.Image(label=label, height=280, type="filepath", sources=["upload", "clipboard"], buttons=[])
    image.preprocess = lambda uploaded: uploaded and uploaded.path  # Gradio's would open it, with errors of its own
    return image


def how_fields(models: RunModels) -> dict[str, gr.Component]:
    """Show what all images are asked for with, by the names that ImageRequests takes. It starts as the run's own images."""
    ran = models.settings_of(*GENERATES).generate
    about = "The same seed gives the same image."
    fields = {
        "seed": gr.Number(0, label="Seed", info=about, precision=0, minimum=0, maximum=MOST_SEED),
        "new_seed": gr.Checkbox(True, label="A new seed each time"),
    }
    sliders = {
        "strength": (0, 2, ran.strength, 0.05, "How much the emotion changes the image."),
        "variety": (0, 2, ran.spread, 0.05, "With less, images are more typical."),
        "guidance": (1, 20, ran.guidance_scale, 0.5, "How closely images follow their words."),
        "steps": (1, MOST_STEPS, ran.steps, 1, "More steps take longer."),
    }
    with gr.Accordion("More settings", open=False):
        for name, (least, most, value, step, info) in sliders.items():
            fields[name] = gr.Slider(least, most, value, step=step, label=name.capitalize(), info=info)
    return fields


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
    info = "Click an image to see this." + " The judge is the model that measures this run." * models.judges
    made = gr.Textbox(label="How the image was made", info=info, lines=2, interactive=False)
    with gr.Row():
        labels = opinion_labels(models)

    def look(images: list[tuple[str, str]], clicked: gr.SelectData):
        with one_line():
            path, caption = images[clicked.index]
            return caption, *views(models, check_upload(path))

    gallery.select(look, gallery, [made, *labels], api_visibility="private", show_progress_on=labels, **AT_ONCE)
    return gallery, made


def opinion_labels(models: RunModels) -> list[gr.Label]:
    """Show how likely the judge, and the understanding model, find each emotion."""
    return [
        gr.Label(label="The judge sees", min_width=250, visible=models.judges),
        gr.Label(label="The understanding model sees", min_width=250, visible=models.understands),
    ]
