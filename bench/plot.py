#!/usr/bin/env python3
"""bench/plot.py HEADING COLUMN …: draws two or three columns of the first table below a heading of docs/benchmarks.md as bars.

  bench/plot.py '## HTTP beside SQL' 'SQL, calls/s' 'HTTP, calls/s' >docs/images/http.svg

Prints SVG that follows the reader's light or dark theme. Each group of bars has its own scale, because the rows of such a
table differ by magnitudes.
"""

import html
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BAR, LEFT, WIDTH, RIGHT = 16, 220, 400, 110
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 } .quiet { fill: #59636e }
  .first { fill: #8c959f } .second { fill: #0969da } .between { fill: #bc4c00 } rect.back { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .first { fill: #6e7681 } .second { fill: #4493f8 } .between { fill: #db6d28 }
    rect.back { fill: #0d1117 }
  }"""


def table(heading, columns):
    """The name of each row, and its figures."""
    text = (ROOT / "docs/benchmarks.md").read_text()
    section = text[text.index(heading + "\n"):]
    lines = [line for line in re.search(r"(?:^\|.*\n)+", section, re.M)[0].splitlines()]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    at = [cells[0].index(column) for column in columns]
    return [(row[0], *(float(row[place].replace(",", "")) for place in at)) for row in cells[2:] if all(row[place] for place in at)]


def draw(rows, columns):
    kinds = ["first", *["between"] * (len(columns) - 2), "second"]
    tall = 18 + (BAR + 4) * len(columns)
    height = 44 + tall * len(rows)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" role="img">',
           f"<title>{html.escape(' and '.join(columns))}</title><style>{STYLE}\n</style>",
           f'<rect class="back" width="100%" height="{height}"/>']
    for number, column in enumerate(columns):
        x = LEFT + number * 170
        out += [f'<rect class="{kinds[number]}" x="{x}" y="12" width="12" height="12"/>',
                f'<text x="{x + 18}" y="23">{html.escape(column)}</text>']
    for place, (name, *figures) in enumerate(rows):
        y = 40 + place * tall
        out.append(f'<text x="{LEFT - 12}" y="{y + (BAR + 4) * len(columns) // 2 + 1}" text-anchor="end">{html.escape(name)}</text>')
        for number, figure in enumerate(figures):
            width, top = WIDTH * figure / max(figures), y + number * (BAR + 4)
            out += [f'<rect class="{kinds[number]}" x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR}"/>',
                    f'<text class="quiet" x="{LEFT + width + 8:.1f}" y="{top + 13}">{figure:,.0f}</text>']
    return "\n".join([*out, "</svg>"])


if __name__ == "__main__":
    heading, *columns = sys.argv[1:]
    print(draw(table(heading, columns), columns))
