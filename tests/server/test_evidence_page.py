"""page_evidence(): what it answers, and that it gives nothing to whoever does not see the event."""

from helpers_sequencing import checkpoint
from helpers_servers import record


def evidence(conn, ids, *more):
    return conn.execute("SELECT immutable.page_evidence(%s::uuid[]" + ", %s" * len(more) + ")", (ids, *more)).fetchone()[0]


def test_first(db):
    record(db.conn)
    checkpoint(db.conn)
    ids = [str(i) for i, in db.conn.execute("SELECT id FROM immutable.events").fetchall()]
    print(evidence(db.conn, ids))
    assert 0
