"""docs/scale-out.md: its blocks about Citus are run as a reader would type them, and print what they show."""

import pathlib

import pytest
import test_readme
from nodes import COORDINATOR, Distributed

GUIDE = "docs/scale-out.md"
SECTION = (pathlib.Path(__file__).resolve().parents[2] / GUIDE).read_text().split("## Many machines: Citus", 1)[1]


@pytest.fixture
def empty(nodes):
    """A database whose nodes know each other, without the extension."""
    database = Distributed(nodes, extension=False)
    yield database
    database.close()
    for node in nodes:
        with node.connect() as admin:
            admin.execute("DROP ROLE IF EXISTS portal")


def test_its_blocks_run_and_print_what_they_show(nodes, empty):
    found = [block for block in test_readme.blocks(GUIDE) if block.text in SECTION]
    assert len(found) > 6
    test_readme.check_shown(test_readme.run(nodes[COORDINATOR], empty.name, found))
    assert empty.conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone() == (True,)
