"""How pages that are made at build time reach the disk.

Invariant: a page is whole at every moment, for builds that run side by side, and keeps its time
when its text is the same, so that builds are incremental.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_page(path: Path, text: str) -> None:
    """Puts a page on disk unless it is there."""
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".draft")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.replace(draft, path)
