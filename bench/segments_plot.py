"""Draws what segments.py measured, as SVG that follows the reader's light or dark theme: one figure against the number of
events, on a logarithmic axis."""

import html
import math

LEFT, WIDTH, TOP, HEIGHT, RIGHT, BELOW = 70, 460, 48, 220, 30, 48
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 } .quiet { fill: #59636e }
  .line { fill: none; stroke-width: 2 } .axis { stroke: #d1d9e0; stroke-width: 1 } rect.back { fill: #ffffff }
  .c0 { stroke: #0969da } .c1 { stroke: #8c959f } .c2 { stroke: #bc4c00 } .c3 { stroke: #1a7f37 }
  .d0 { fill: #0969da } .d1 { fill: #8c959f } .d2 { fill: #bc4c00 } .d3 { fill: #1a7f37 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } rect.back { fill: #0d1117 } .axis { stroke: #3d444d }
    .c0 { stroke: #4493f8 } .c1 { stroke: #9198a1 } .c2 { stroke: #db6d28 } .c3 { stroke: #3fb950 }
    .d0 { fill: #4493f8 } .d1 { fill: #9198a1 } .d2 { fill: #db6d28 } .d3 { fill: #3fb950 }
  }"""

# The file's name, the heading, and the lines: what each is called, and the figure that it shows.
PLOTS = [
    ("segments-inserts", "Inserts in a second", [("inserts", "rate"), ("while sealing", "rate_sealing")]),
    ("segments-pages", "A page, median ms", [("newest", "newest"), ("deep", "deep"), ("tenant", "tenant"),
                                             ("tenant, deep", "tenant, deep")]),
    ("segments-bytes", "Bytes an event", [("segments", "segment_bytes"), ("hot", "hot_bytes")]),
]


def short(number):
    """A number of events as the axis says it."""
    for size, name in ((10**9, "bn"), (10**6, " m"), (10**3, ",000")):
        if number >= size:
            return f"{number / size:g}{name}"
    return f"{number:g}"


def step(greatest):
    """A round distance between the lines of the grid, of which there are at most five."""
    power = 10 ** math.floor(math.log10(greatest / 4))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= greatest / 4)


def draw(title, sizes, lines):
    """`lines`: the name of each, and its figure at each size, or None."""
    greatest = max(figure for _, figures in lines for figure in figures if figure is not None)
    grid = step(greatest)
    top = grid * math.ceil(greatest / grid)
    low, high = math.log10(sizes[0]), math.log10(sizes[-1])
    x = lambda size: LEFT + (WIDTH * (math.log10(size) - low) / (high - low) if high > low else WIDTH / 2)
    y = lambda figure: TOP + HEIGHT * (1 - figure / top)
    wide, tall = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BELOW
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" role="img">',
           f"<title>{html.escape(title)} against the number of events</title><style>{STYLE}\n</style>",
           f'<rect class="back" width="100%" height="{tall}"/>', f'<text x="12" y="22">{html.escape(title)}</text>']
    for n in range(round(top / grid) + 1):
        out += [f'<line class="axis" x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y(n * grid):.1f}" y2="{y(n * grid):.1f}"/>',
                f'<text class="quiet" x="{LEFT - 8}" y="{y(n * grid) + 4:.1f}" text-anchor="end">{n * grid:,g}</text>']
    for size in sizes:
        out.append(f'<text class="quiet" x="{x(size):.1f}" y="{TOP + HEIGHT + 20}" text-anchor="middle">{short(size)}</text>')
    out.append(f'<text class="quiet" x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 40}" text-anchor="middle">events in the log</text>')
    for number, (name, figures) in enumerate(lines):
        points = [(x(size), y(figure)) for size, figure in zip(sizes, figures) if figure is not None]
        out.append(f'<polyline class="line c{number}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
        out += [f'<circle class="d{number}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in points]
        key = LEFT + 110 * number
        out += [f'<rect class="d{number}" x="{key}" y="30" width="10" height="10"/>',
                f'<text class="quiet" x="{key + 16}" y="40">{html.escape(name)}</text>']
    return "\n".join([*out, "</svg>"]) + "\n"


def plot(rows, folder):
    """Writes one file for each plot that has figures."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, title, lines in PLOTS:
        lines = [(name, [row.get(figure) for row in rows.values()]) for name, figure in lines]
        lines = [line for line in lines if any(figure is not None for figure in line[1])]
        if lines:
            (folder / f"{file}.svg").write_text(draw(title, list(rows), lines), encoding="utf-8")
