"""The page of samples that a training leaves beside its numbers."""

import base64
import re
from io import BytesIO

import pandas as pd
from PIL import Image

from understanding.callbacks import write_samples


def test_a_page_of_samples_holds_an_image_beside_each_answer(drawn, tmp_path):
    paths = {path.stem: path for path in sorted((drawn / "image" / "awe").iterdir())[:3]}
    rows = [(name, "awe", kind, "fear", "<b>&") for name in paths for kind in ("binary", "misleading")]
    answers = pd.DataFrame(rows, columns=["image_id", "emotion", "kind", "asked", "completion"])
    write_samples(tmp_path / "samples" / "step-000007.html", answers, paths)
    page = (tmp_path / "samples" / "step-000007.html").read_text()
    images = re.findall(r"<img [^>]*src='data:image/jpeg;base64,([^']+)'", page)
    assert len(images) == page.count("<img") == page.count("&lt;b&gt;&amp;") == len(answers)
    assert len(set(images)) == len(paths), "each its own"
    assert all(Image.open(BytesIO(base64.b64decode(image))).size == (32, 32) for image in images)
