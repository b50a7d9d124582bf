#!/usr/bin/env python3
"""Draws the pictures of docs/architecture.md: docs/pictures/draw.py [DIRECTORY] writes floors.svg and chain.svg.

It needs nothing but Python. tests/server/test_docs.py draws them again and compares: change the picture here, run the
script, and commit both."""

import pathlib
import runpy
import sys
from xml.sax.saxutils import escape

# Where each room is drawn (column, floor), and what is written below its name.
ROOMS = {
    "jobs": (3, 4, "what a scheduler runs"),
    "write": (0, 3, "from INSERT to the stored row"),
    "capture": (1, 3, "row changes of tables"),
    "erase": (2, 3, "values destroyed, recorded"),
    "read": (3, 3, "pages, feed, exports"),
    "guard": (0, 2, "what is refused"),
    "access": (1, 2, "who may see or write what"),
    "verify": (5, 3, "breaks"),
    "evidence": (4, 3, "tree, checkpoints, proofs"),
    "citus": (4, 2, "many machines"),
    "log": (1, 1, "what the log is made of"),
    "pg": (0, 0, "PostgreSQL made safe"),
    "settings": (1, 0, "immutable.*"),
    "crates/format": (2, 0, "byte formats, no PostgreSQL"),
}
# What each of them may import: the table to which scripts/floors holds the code.
CHECK = pathlib.Path(__file__).resolve().parents[2] / "scripts/floors"
MAY_IMPORT = {room: others for room, others in runpy.run_path(str(CHECK))["MAY_IMPORT"].items() if room in ROOMS}
FLOORS = ["ground floor", "first floor", "second floor", "third floor", "fourth floor"]

STYLE = """
text { font-family: Helvetica, Arial, sans-serif; font-size: 13px; fill: #1c2733; text-anchor: middle }
.small { font-size: 11.5px; fill: #4a5a6a }
.left { text-anchor: start }
.title { font-weight: bold }
.paper { fill: #ffffff }
.floor { fill: #f3f6f9 }
.box { fill: #ffffff; stroke: #33536f; stroke-width: 1.3 }
.strong { fill: #dcebf7 }
.gone { fill: #fbeeee; stroke: #a04040; stroke-dasharray: 5 3 }
.arrow { stroke: #33536f; stroke-width: 1.3; fill: none }
.head { fill: #33536f; stroke: none }
"""


class Picture:
    def __init__(self, width, height, title):
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
                      f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>",
                      f'<rect class="paper" x="0" y="0" width="{width}" height="{height}" rx="8"/>']

    def text(self, x, y, text, kind=""):
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>')

    def box(self, x, y, width, height, lines, kind=""):
        """A box with lines in its middle; the first is the title, if it begins with `*`."""
        self.parts.append(f'<rect class="box {kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>')
        step = 17
        first = y + height / 2 - (len(lines) - 1) * step / 2 + 4.5
        for number, line in enumerate(lines):
            self.text(x + width / 2, first + number * step, line.lstrip("*"), "title" if line.startswith("*") else "small")

    def arrow(self, *points):
        """A line through the points, with a head at the last of them."""
        (x1, y1), (x2, y2) = points[-2:]
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        dx, dy = (x2 - x1) / length, (y2 - y1) / length
        base = (x2 - 8 * dx, y2 - 8 * dy)
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*points[:-1], base])
        head = " ".join(f"{x:.1f},{y:.1f}" for x, y in [(x2, y2), (base[0] - 4 * dy, base[1] + 4 * dx), (base[0] + 4 * dy, base[1] - 4 * dx)])
        self.parts += [f'<polyline class="arrow" points="{line}"/>', f'<polygon class="head" points="{head}"/>']

    def svg(self):
        return "\n".join([*self.parts, "</svg>", ""])


def direct(room):
    """The rooms below that no other room below leads to anyway: an arrow for each is enough."""
    below = MAY_IMPORT[room]
    return [one for one in below if not any(one in MAY_IMPORT[other] for other in below)]


def floors():
    width, height, pitch, high = 162, 46, 98, 78
    left = lambda column: 118 + column * 170
    top = lambda floor: 20 + (len(FLOORS) - 1 - floor) * pitch
    picture = Picture(1150, 38 + len(FLOORS) * pitch, "The rooms of src/ and what they may import")
    for floor, name in enumerate(FLOORS):
        picture.parts.append(f'<rect class="floor" x="10" y="{top(floor)}" width="1130" height="{high}" rx="6"/>')
        picture.text(20, top(floor) + high / 2 + 4, name, "small left")
    for room in MAY_IMPORT:
        below = direct(room)
        column, floor, _ = ROOMS[room]
        for number, other in enumerate(below):
            its_column, its_floor, _ = ROOMS[other]
            users = [one for one in MAY_IMPORT if other in direct(one)]
            start = left(column) + width * (number + 1) / (len(below) + 1)
            end = left(its_column) + width * (users.index(room) + 1) / (len(users) + 1)
            picture.arrow((start, top(floor) + 16 + height), (end, top(its_floor) + 16))
    for room, (column, floor, what) in ROOMS.items():
        picture.box(left(column), top(floor) + 16, width, height, [f"*{room}", what], "strong" if floor == 0 else "")
    picture.text(575, 26 + len(FLOORS) * pitch, "An arrow leads from a room to one that it may import. Every room may also import all that lies below on its arrows.", "small")
    return picture.svg()


def chain():
    picture = Picture(980, 560, "A tenant's chain, its lanes, and how an event's hash is made of commitments")

    picture.text(20, 30, "The chain of tenant acme: one lane for each writer that was at work at the same time", "title left")
    for lane, y, count in ((0, 48, 4), (1, 124, 2)):
        picture.text(20, y + 33, f"lane {lane}", "left")
        for number in range(count):
            x = 90 + number * 225
            previous = "none" if number == 0 else "of seq " + str(number)
            picture.box(x, y, 175, 58, [f"*seq {number + 1}", f"previous hash: {previous}", "event_hash"])
            if number:
                picture.arrow((x, y + 29), (x - 50, y + 29))
    picture.text(540, 149, "Each event names the hash of the event before it in its lane.", "small left")
    picture.text(540, 167, "A saved head (tenant, lane, seq, event_hash of a lane's last event)", "small left")
    picture.text(540, 185, "shows later whether the end of the lane was cut off.", "small left")

    picture.text(20, 225, "One event", "title left")
    values = [("actor_id", "user-17", ""), ("metadata.size", "42", ""), ("ip_address", "erased", "gone")]
    for number, (path, value, kind) in enumerate(values):
        y = 262 + number * 74
        picture.box(20, y, 180, 54, [f"*{path}", value if not kind else "value and its salt destroyed"], kind)
        picture.box(300, y, 180, 54, ["*commitment", "stays" if kind else "SHA-256"])
        if not kind:
            picture.arrow((200, y + 27), (300, y + 27))
            picture.text(250, y + 20, "+ salt", "small")
        picture.arrow((480, y + 27), (560, 347 + (number - 1) * 26))
    picture.text(110, 250, "values that can be erased", "small")
    picture.text(390, 250, "commitments", "small")
    picture.box(20, 490, 460, 46, ["*tenant_id, action, times, lane, seq, previous_event_hash, …", "go into the document as they are, and can never be erased"])
    picture.arrow((480, 513), (600, 513), (600, 412))
    picture.box(560, 290, 170, 122, ["*document", "canonical JSON:", "commitments and", "plain members"], "strong")
    picture.arrow((730, 351), (800, 351))
    picture.text(765, 344, "SHA-256", "small")
    picture.box(800, 322, 160, 58, ["*event_hash", "the next event of the", "lane names it"], "strong")
    picture.text(625, 470, "Erasing a value changes neither document nor hash:", "small left")
    picture.text(625, 488, "its commitment stays, and the chain still verifies.", "small left")
    return picture.svg()


if __name__ == "__main__":
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    for name, draw in (("floors", floors), ("chain", chain)):
        (directory / f"{name}.svg").write_text(draw())
