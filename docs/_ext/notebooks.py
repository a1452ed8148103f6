"""The notebooks as pages: notebooks are stored without outputs, the outputs beside the site.

`python docs/_ext/notebooks.py` runs all of them (on a quiet machine: some print times) and writes
`docs/outputs`; needs nbclient (`pip install -e '.[notebook]'`).  Invariant: outputs are shown only
with the code that made them; a notebook whose code has changed is a warning of the build.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pages import write_page

DOCS = Path(__file__).resolve().parent.parent
NOTEBOOKS = DOCS.parent / "notebooks"
OUTPUTS = DOCS / "outputs"
CELL_FILE = re.compile(r"(/\S*ipykernel_\d+/)?\b\d{6,}\.py")  # what a kernel calls a cell's code
Book = dict[str, Any]


def code_cells(book: Book) -> list[Book]:
    """The cells that run."""
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def digest(book: Book) -> str:
    """A key of all code of a notebook."""
    text = "\0".join("".join(cell["source"]) for cell in code_cells(book))
    return hashlib.sha256(text.encode()).hexdigest()


def stored(path: Path) -> Path:
    """The file of a notebook's outputs."""
    return OUTPUTS / f"{path.stem}.json"


def is_fresh(path: Path) -> bool:
    """Whether the stored outputs are those of the notebook's code."""
    if not stored(path).exists():
        return False
    made_by: str = json.loads(stored(path).read_text())["code"]
    return made_by == digest(json.loads(path.read_text()))


def with_outputs(path: Path) -> str:
    """A notebook, with the outputs that belong to its code, as text."""
    book = json.loads(path.read_text())
    if is_fresh(path):
        outputs = json.loads(stored(path).read_text())["outputs"]
        for count, cell in enumerate(code_cells(book), 1):
            cell["outputs"] = outputs[cell["id"]]
            cell["execution_count"] = count
    return json.dumps(book, indent=1) + "\n"


def without_paths(value: Any) -> Any:
    """Outputs without the file names that a kernel gives to cells."""
    if isinstance(value, str):
        return CELL_FILE.sub("cell", value)
    if isinstance(value, list):
        return [without_paths(v) for v in value]
    if isinstance(value, dict):
        return {k: without_paths(v) for k, v in value.items()}
    return value


def run(path: Path) -> None:
    """Runs a notebook and stores its outputs."""
    import nbclient
    import nbformat

    book = nbformat.read(path, 4)
    place = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(book, timeout=600, kernel_name="python3", resources=place).execute()
    cells = code_cells(book)
    for cell in cells:
        for output in cell["outputs"]:
            output.pop("execution_count", None)
    made = {
        "code": digest(json.loads(path.read_text())),
        "outputs": without_paths({cell["id"]: cell["outputs"] for cell in cells}),
    }
    OUTPUTS.mkdir(exist_ok=True)
    stored(path).write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


def generate(app: Any) -> None:
    """Pages of the notebooks, in an ignored folder of the source."""
    from sphinx.util import logging

    folder = Path(app.srcdir) / "notebooks"
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not is_fresh(path):
            logging.getLogger(__name__).warning(
                "the outputs of %s are not those of its code: python docs/_ext/notebooks.py",
                path.name,
            )
        write_page(folder / path.name, with_outputs(path))


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("builder-inited", generate)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        print(path.name)
        run(path)
