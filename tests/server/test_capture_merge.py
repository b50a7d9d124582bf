"""MERGE in the first statement of a session, which loads the library by its triggers."""

import psycopg
import pytest

PARTITIONED = """
    CREATE TABLE part (id int, k int, s text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
    CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2);
    SELECT immutable.track_table('part');
    INSERT INTO part VALUES (1, 1, 'a'), (2, 1, 'b')
"""
MOVE = "MERGE INTO part USING (SELECT 1 AS id) s ON part.id = s.id WHEN MATCHED THEN UPDATE SET k = %s, s = %s"
CHANGES = "SELECT action, resource_id, metadata FROM immutable.events WHERE action = 'part.updated' ORDER BY created_at, seq"


@pytest.mark.parametrize("k", [1, 2])
def test_what_the_first_merge_of_a_session_moved_is_not_known(db, k):
    db.conn.execute(PARTITIONED)
    conn = db.connect()
    with pytest.raises(psycopg.errors.SerializationFailure, match="is not known") as refused:
        conn.execute(MOVE, [k, "new"])
    assert "Retry" in refused.value.diag.message_hint
    # The library is there now. What moves is refused, and what stays is recorded.
    if k == 2:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="MERGE cannot move rows of public.part"):
            conn.execute(MOVE, [k, "new"])
        assert db.conn.execute(CHANGES).fetchall() == []
        assert db.conn.execute("SELECT k, s FROM part WHERE id = 1").fetchall() == [(1, "a")]
    else:
        conn.execute(MOVE, [k, "new"])
        assert db.conn.execute(CHANGES).fetchall() == [("part.updated", '["1","1"]', {"s": {"old": "a", "new": "new"}})]


def test_a_first_merge_that_cannot_move_is_recorded(db):
    db.conn.execute(PARTITIONED)
    conn = db.connect()
    conn.execute("MERGE INTO part USING (SELECT 2 AS id) s ON part.id = s.id WHEN MATCHED THEN UPDATE SET s = 'new'")
    assert db.conn.execute(CHANGES).fetchall() == [("part.updated", '["2","1"]', {"s": {"old": "b", "new": "new"}})]
    # Through a partition nothing can move.
    db.connect().execute("MERGE INTO part_1 USING (SELECT 2 AS id) s ON part_1.id = s.id WHEN MATCHED THEN UPDATE SET k = 1, s = 'x'")
    assert len(db.conn.execute(CHANGES).fetchall()) == 2
