"""docs/errors.md: its SQL and its Python run as a reader would type them, and its table holds for psycopg."""

import pathlib
import re
import threading

import psycopg
import pytest
from psycopg.types.json import Jsonb
from test_readme import blocks, run

TEXT = (pathlib.Path(__file__).resolve().parents[2] / "docs/errors.md").read_text()


@pytest.fixture
def record():
    (python,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)
    names = {}
    exec(compile(python, "docs/errors.md", "exec"), names)
    return names["record"]


def test_every_block_runs(db):
    status, same, refused, batch = (block.printed for block in run(db.server, db.name, blocks("docs/errors.md")))
    assert "recorded" in status
    assert re.search(r"recorded.*duplicate.*\[\"action\"\]", same, re.S)
    assert refused == ""
    assert re.findall(r"^ (\w+) +\| (\w*) *\| (\w*) *$", batch, re.M) == [
        ("recorded", "", ""), ("error", "22P05", "metadata"), ("error", "22P02", "metadata"), ("error", "22023", "resourceType")]


def test_the_function_retries_what_a_retry_helps(db, record):
    conn = db.connect(isolation_level=None)
    event = {"tenant_id": "t", "actor_id": "u", "action": "a", "idempotency_key": "k"}
    assert record(conn, event)["status"] == "recorded" and record(conn, event)["status"] == "duplicate"
    # A race above READ COMMITTED: 40001 the first time.
    conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    other = db.connect(autocommit=False)
    raced = {**event, "idempotency_key": "k2"}
    other.execute("SELECT immutable.track(%s)", [Jsonb(raced)])
    timer = threading.Timer(0.5, other.commit)
    timer.start()
    assert record(conn, raced)["status"] == "duplicate"
    timer.join()
    # An error that a retry cannot help is raised at once.
    for wrong, state in (({**event, "action": "b"}, "23505"), ({"action": "a"}, "23502"), ({**event, "user_agent": "x" * 5000}, "22001")):
        with pytest.raises(psycopg.Error) as error:
            record(conn, wrong)
        assert error.value.sqlstate == state


def test_the_exception_classes_of_psycopg(db):
    """The sentence about OperationalError, and that the codes stand in the table."""
    conn = db.connect(db.create_role("IN ROLE immutable_writer, immutable_viewer"))
    conn.execute("SELECT immutable.track('u', 'a')")
    found = {}
    for statement in ("SELECT immutable.track('u', 'a', metadata => jsonb_build_object('k', repeat('x', 70000)))",
                      "SET immutable.viewer_token = 'x.y.z'; SELECT count(*) FROM immutable.events",
                      "RESET immutable.viewer_token; SELECT immutable.track('u', 'immutable.x')", "SELECT immutable.track(NULL, 'a')",
                      "SELECT immutable.track('u', 'a', resource_id => 7)", "SELECT immutable.track('u', repeat('a', 256))"):
        with pytest.raises(psycopg.Error) as error:
            conn.execute(statement)
        found[error.value.sqlstate] = isinstance(error.value, psycopg.OperationalError)
    assert found == {"54000": True, "28000": True, "42501": False, "23502": False, "42883": False, "22001": False}
    assert issubclass(psycopg.errors.lookup("40P01"), psycopg.OperationalError)
    table = " ".join(re.findall(r"^\| (\S.*?) \|", TEXT, re.M))
    assert all(state in table or state[:2] + "xxx" in table for state in found)
