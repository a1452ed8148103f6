"""The site: it builds without a warning, names everything public, and its examples run."""

from __future__ import annotations

import doctest
import importlib.util
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import hybrid

ROOT = next(p for p in Path(__file__).resolve().parents if (p / "pyproject.toml").exists())
DOCS = ROOT / "docs"
NEEDED = ("sphinx", "myst_nb", "furo", "sphinx_copybutton")
PAGES = sorted(p.name for p in DOCS.glob("*.md") if "```pycon" in p.read_text())
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
PUBLIC = ("", "nn", "nn.functional", "optim", "fft", "linalg", "random", "special")


def module_of(path):
    found = hybrid
    for part in filter(None, path.split(".")):
        found = getattr(found, part)
    return found


def public_names():
    for path in PUBLIC:
        module = module_of(path)
        for name in getattr(module, "__all__", None) or vars(module):
            value = vars(module)[name]
            if not name.startswith("_") and not isinstance(value, type(sys)):
                if name not in ("annotations", "TYPE_CHECKING"):
                    yield ".".join(filter(None, ("hybrid", path, name)))


def built(folder):
    """The site, built with warnings as errors."""
    out = folder / "html"
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, str(DOCS), str(out)], capture_output=True, text=True, timeout=600, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def article(page):
    """What a page shows beside its navigation, as HTML."""
    return page.read_text().partition('<article role="main"')[2].partition("</article>")[0]


def text_of(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_site(tmp_path):
    """One test, so that tests running side by side build the site once."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the extra `docs` is not installed: {', '.join(missing)}")
    site = built(tmp_path)
    reference = [(page.name, article(page)) for page in sorted((site / "api").glob("*.html"))]

    anchors = set(re.findall(r'id="(hybrid\.[\w.]+)"', " ".join(html for _, html in reference)))
    absent = sorted(set(public_names()) - anchors)
    assert not absent, absent
    assert {"hybrid.Tensor.backward", "hybrid.Function.explain"} <= anchors

    for name, html in reference:  # a backtick that is left is markup that was not read
        prose = re.sub(r"<pre>.*?</pre>", "", html, flags=re.DOTALL)
        found = re.search(r".{0,60}`.{0,60}", text_of(prose))
        assert not found, f"{name}: {found and found.group()}"

    plots = [page.read_text().count("<img") for page in (site / "notebooks").glob("*.html")]
    assert len(plots) == 4 and min(plots) >= 1
    for page in site.rglob("*.html"):
        if page.stem not in ("genindex", "search", "py-modindex") and "_static" not in page.parts:
            assert len(text_of(article(page)).split()) > 20, f"{page.relative_to(site)} is empty"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_outputs_belong_to_the_code(path, monkeypatch):
    spec = importlib.util.spec_from_file_location("site_notebooks", DOCS / "_ext" / "notebooks.py")
    notebooks = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(DOCS / "_ext")
    spec.loader.exec_module(notebooks)
    assert notebooks.is_fresh(path), "run python docs/_ext/notebooks.py"
    text = notebooks.stored(path).read_text()
    assert not re.search(r"/(tmp|root|home)/", text)


@pytest.mark.skipif(
    not sys.modules["hybrid.trace.serve.paths"].SUPPORTED, reason="the examples show replays"
)
@pytest.mark.parametrize("name", PAGES)
def test_examples_of_pages_run(name, monkeypatch):
    blocks = re.findall(r"```pycon\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=FLAGS)
    test = parser.get_doctest("\n".join(blocks), {}, name, name, 0)
    assert test.examples
    main = types.ModuleType("__main__")  # messages name the module of a global
    monkeypatch.setitem(sys.modules, "__main__", main)
    test.globs = vars(main)
    said: list[str] = []
    runner.run(test, out=said.append, clear_globs=False)
    assert not runner.failures, "".join(said)


def test_pages_include_what_is_there():
    """What a page takes from another file: the file and its markers exist."""
    for page in DOCS.glob("*.md"):
        for target, options in re.findall(
            r"```\{include\} (\S+)\n(.*?)```", page.read_text(), re.DOTALL
        ):
            text = (DOCS / target).read_text()
            for marker in re.findall(r':(?:start-after|end-before): "(.*?)"', options):
                assert marker.replace("\\n", "\n") in text, f"{page.name}: {target}: {marker}"
