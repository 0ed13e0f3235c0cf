"""Run every cell of docs/tour.ipynb, and write what the cells show into it, as Jupyter would.

    python docs/notebook.py

A cell shows what it prints and the value of its last line: an image as a PNG, anything else as text.
"""

import argparse
import ast
import base64
import io
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from PIL import Image

PATH = Path(__file__).with_name("tour.ipynb")


def run_cells(notebook: dict) -> None:
    """Run the code cells of a notebook one after the other, and put what each shows into its `outputs`."""
    names: dict = {"__name__": "__main__"}
    for number, cell in enumerate((each for each in notebook["cells"] if each["cell_type"] == "code"), 1):
        printed, code = io.StringIO(), ast.parse("".join(cell["source"]))
        last = code.body.pop() if code.body and isinstance(code.body[-1], ast.Expr) else None
        with redirect_stdout(printed):
            exec(compile(code, f"cell {number}", "exec"), names)
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names) if last else None
        cell["execution_count"], cell["outputs"] = number, outputs(printed.getvalue(), value, number)


def outputs(printed: str, value: object, number: int) -> list[dict]:
    """Return what a cell printed, and the value of its last line, in a notebook's form."""
    found: list[dict] = []
    if printed:
        found.append({"output_type": "stream", "name": "stdout", "text": printed.splitlines(keepends=True)})
    if isinstance(value, Image.Image):
        file = io.BytesIO()
        value.convert("RGB").quantize(256).save(file, "PNG", optimize=True)
        shown = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": [f"an image of {value.size}"]}
    else:
        shown = {"text/plain": str(value).splitlines(keepends=True)}
    if value is not None:
        found.append({"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": shown})
    return found


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    os.chdir(PATH.parent.parent)  # the project's folder, from which the cells name the models
    sys.path.insert(0, os.getcwd())
    told = json.loads(PATH.read_text(encoding="utf-8"))
    run_cells(told)
    PATH.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
