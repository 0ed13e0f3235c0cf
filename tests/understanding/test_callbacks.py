"""The numbers that a training leaves, and the page of samples beside them."""

import base64
import re
from io import BytesIO
from types import SimpleNamespace

import pandas as pd
import pytest
from PIL import Image

from runtime.metrics import read_metrics
from understanding.callbacks import MetricsCallback, write_samples


@pytest.mark.parametrize(("resumed_after", "kept"), [(0, []), (2, [0, 2])])
def test_lines_of_steps_that_are_made_again_are_dropped(tmp_path, resumed_after, kept):
    watching, state = MetricsCallback(tmp_path), SimpleNamespace(global_step=0, max_steps=4)
    watching.on_train_begin(None, state, None)
    for step in (0, 2, 3):
        watching.metrics.write(step, {"loss": 1.0})
    state.global_step = resumed_after
    watching.on_train_begin(None, state, None)
    assert [line["step"] for line in read_metrics(tmp_path)] == kept


def test_a_page_of_samples_holds_an_image_beside_each_answer(drawn, tmp_path):
    paths = {path.stem: path for path in sorted((drawn / "image" / "awe").iterdir())[:3]}
    rows = [(name, "awe", kind, "fear", "<b>&") for name in paths for kind in ("binary", "misleading")]
    answers = pd.DataFrame(rows, columns=["image_id", "emotion", "kind", "asked", "completion"])
    write_samples(tmp_path / "samples" / "step-000007.html", answers, paths)
    page = (tmp_path / "samples" / "step-000007.html").read_text()
    images = re.findall(r'<img [^>]*src="data:image/webp;base64,([^"]+)"', page)
    assert len(images) == page.count("<img") == page.count("&lt;b&gt;&amp;") == len(answers)
    assert len(set(images)) == len(paths), "each its own"
    assert all(Image.open(BytesIO(base64.b64decode(image))).size == (32, 32) for image in images)
