"""The tabs that ask about images, and the one that tells of the run: Ask and The run."""

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import gradio as gr
import pandas as pd

from app.generation_tabs import AT_ONCE, emotion_field, image_examples, upload_field
from app.one_line import copied, one_line
from app.opinions import ASKED, Opinion, check_shown, check_upload, opinion, table_of
from app.run_models import RunModels
from config.errors import UserError
from evaluation.report import PARTS
from evaluation.run_files import COMMANDS, RunFiles
from evaluation.verdict import verdict

MOST_FILES = 1000  # of one request
FORMULA = ("=", "+", "-", "@", "\t")  # by which a spreadsheet takes a file's name for a formula
PROGRESS = gr.Progress()  # Gradio gives each request its own


def ask(models: RunModels, image: str | None, emotion: str) -> list:
    """Tell what the model before and after training says of an image: emotions, yes or no, mean score, scores, reasoning."""
    with one_line():
        path = check_upload(image)
        check_shown(models.after, path)
        return [shown for asker in (models.before, models.after) for shown in told(opinion(asker, path, emotion))]


def told(of: Opinion) -> tuple[dict, dict, str, pd.DataFrame, str]:
    """Return an opinion as the page's components take it."""
    scores = pd.DataFrame({"score": list(of.scores), "probability": list(of.scores.values())})
    return of.emotions, {"yes": of.yes, "no": 1 - of.yes}, f"{of.score:.0f} of 100", scores, of.reasoning


def ask_many(
    models: RunModels, files: list[str] | None, progress: gr.Progress = PROGRESS
) -> Iterator[tuple[pd.DataFrame, str | None]]:
    """Tell the emotion of many images: a table that fills, and at its end the same as a CSV file."""
    with one_line():
        paths, rows = sorted(map(Path, files or []), key=lambda path: path.name), []
        if not paths:
            raise UserError("There are no files. Choose a folder, or several images.")
        if len(paths) > MOST_FILES:
            raise UserError(f"These are {len(paths):,} files, and one table takes {MOST_FILES:,}. Choose fewer.")
        for some in table_of(models.after, paths):
            rows += some
            progress((len(rows), len(paths)), desc="Asking", unit="images")
            yield pd.DataFrame(rows), None
        with TemporaryDirectory() as folder:
            file = Path(folder, "emotions.csv")
            with file.open("w", encoding="utf-8", newline="") as lines:
                writer = csv.DictWriter(lines, rows[0])
                writer.writeheader()
                writer.writerows(row | {"file": harmless(row["file"])} for row in rows)
            yield pd.DataFrame(rows), copied(file)


def harmless(name: str) -> str:
    """Return a file's name, as a spreadsheet takes it for text."""
    return f"'{name}" if name.startswith(FORMULA) else name


def ask_tab(models: RunModels, examples: list[str]) -> None:
    """Show the tab that asks about an image, and about many."""
    emotions = models.taxonomy.emotions
    with gr.Row():
        with gr.Column(min_width=300):
            image = upload_field("Image")
            emotion = emotion_field(emotions, "Emotion to ask about")
            go = gr.Button("Ask the model", variant="primary")
            image_examples(examples, image)
        with gr.Column(scale=2, min_width=300), gr.Row():
            answers = [*opinion_column(models, "Before training"), *opinion_column(models, "After training")]
    go.click(partial(ask, models), [image, emotion], answers, api_name="ask", **AT_ONCE)
    with gr.Accordion("Many images at once", open=False):
        with gr.Row():
            folder = gr.UploadButton("Choose a folder", file_count="directory")
            several = gr.UploadButton("Choose images", file_count="multiple")
            stop = gr.Button("Stop", variant="stop", min_width=80, scale=0)
        columns = ["file", "emotion", *emotions, "problem"]
        table = gr.Dataframe(headers=columns, label="The likeliest emotion, and how likely each is", interactive=False)
        file = gr.File(label="The table as a CSV file", interactive=False)
    asking = [
        each.upload(partial(ask_many, models), each, [table, file], api_name="ask_many", api_visibility=who, **AT_ONCE)
        for each, who in ((folder, "public"), (several, "private"))
    ]
    stop.click(None, cancels=asking, api_visibility="private")


def opinion_column(models: RunModels, title: str) -> list[gr.Component]:
    """Show what a model says, in the order of `told`."""
    with gr.Column(min_width=280):
        gr.Markdown(f"### {title}")
        return [
            gr.Label(label=ASKED[0]),
            gr.Label(label=ASKED[1]),
            gr.Textbox(label=ASKED[2], interactive=False),
            gr.BarPlot(x="score", y="probability", label="How likely the model is to give each score", height=180),
            gr.Textbox(label="Its reasoning", lines=4, interactive=False, visible=models.after_reasons),
        ]


def run_tab(models: RunModels) -> None:
    """Show what the run holds and what its evaluation has found."""
    lines = verdict(RunFiles(models.run).results(), models.taxonomy)
    report = models.run / "report" / "index.html"
    if lines:
        gr.Markdown("### What the evaluation has found\n" + "\n".join(f"- {line}" for line in lines))
    else:
        gr.Markdown(f"This run was not evaluated. `{COMMANDS['evaluation']}` measures it and writes a report.")
    if report.is_file():
        gr.HTML(f'<a href="gradio_api/file={quote(str(report))}" target="_blank">Open the report</a>')
    held = [what for path, what in PARTS.items() if (models.run / path).exists()]
    gr.Markdown("### What the run holds\n" + "\n".join(f"- {what}" for what in held))
