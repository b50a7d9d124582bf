"""The documentation: links lead somewhere, paths that are named are there, and pictures are what their script draws. What
the pages' own SQL does is in test_readme.py. No server is needed."""

import pathlib
import re
import runpy
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted(str(path.relative_to(ROOT))
               for folder in ("*.md", "docs/**/*.md", "crates/*/*.md", "clients/*/*.md", "tests/**/*.md")
               for path in ROOT.glob(folder) if "node_modules" not in path.parts)
ARCHITECTURE = ROOT / "docs/architecture.md"
# What is made once there is a released version.
LATER = {"sql/released", "sql/upgrade"}


def may_import():
    return runpy.run_path(str(ROOT / "docs/pictures/draw.py"))["MAY_IMPORT"]


def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^ {4}.*$", "", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), flags=re.M)


def anchors(page):
    """Those of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page))):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists() and target.is_relative_to(ROOT), f"{name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name} links to {link}"


def test_every_decision_is_listed():
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/design/README.md").read_text())
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs/design").glob("*.md") if path.name != "README.md")
    for page in listed:
        title = (ROOT / "docs/design" / page).read_text().splitlines()[0].removeprefix("# ")
        assert f"[{title}]({page})" in (ROOT / "docs/design/README.md").read_text()


def rows(page, columns):
    """The rows of a page's tables that have so many columns, without their heads."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.read_text().splitlines() if line.startswith("|")]
    return [row for row in found if len(row) == columns and not set(row[0]) <= {"-"}]


def test_every_rule_is_where_the_overview_says():
    wrong = []
    where = [row for row in rows(ARCHITECTURE, 3) if re.fullmatch(r"`[\w/]+\.(rs|sql)`", row[1])]
    assert len(where) >= 30
    for rule, file, names in where:
        path = ROOT / file.strip("`")
        path = path if re.match(r"(crates|sql)/", file.strip("`")) else ROOT / "src" / file.strip("`")
        if not path.exists():
            wrong += [f"{rule}: {file} is not there"] * (file.strip("`") not in LATER)
            continue
        text = path.read_text()
        wrong += [f"{rule}: {file} has no {name}" for name in re.findall(r"`([^`]+)`", names)
                  if not re.search(rf"\b{re.escape(name)}\b", text)]
    assert not wrong, "\n".join(wrong)


def test_the_table_of_rooms_is_the_one_that_is_held():
    """scripts/floors holds the code to its table, of which the page shows the rooms that there are."""
    shown = {row[0].strip("`"): row[2] for row in rows(ARCHITECTURE, 3) if row[0].strip("`") in may_import()}
    assert shown == {room: ", ".join(others) or "nothing" for room, others in may_import().items()}


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", *sorted(f"docs/design/{path.name}" for path in (ROOT / "docs/design").glob("*.md"))])
def test_paths_that_are_named_are_there(name):
    """Files of the project, in backticks or in the text; in docs/design also by their room."""
    for path in re.findall(r"(?<![\w/.-])((?:src|sql|crates|tests|docs|scripts|bench)/[\w./-]*\w)", prose(ROOT / name)):
        assert (ROOT / path).exists() or path in LATER, f"{name} names {path}"
    rooms = "|".join(may_import())
    for path in re.findall(rf"`((?:{rooms})/\w+\.rs)`", prose(ROOT / name)):
        assert (ROOT / "src" / path).exists(), f"{name} names {path}"


def test_pictures_are_what_their_script_draws(tmp_path):
    subprocess.run([sys.executable, "-B", ROOT / "docs/pictures/draw.py", tmp_path], check=True)
    for picture in (ROOT / "docs/pictures").glob("*.svg"):
        assert picture.read_text() == (tmp_path / picture.name).read_text(), f"run docs/pictures/draw.py: {picture.name}"
