"""The views for reports, the way a BI tool meets them: through reflection, as a role with few rights."""

import datetime
import decimal
import ipaddress
import json
import pathlib
import re

import psycopg
import pytest
import sqlalchemy
from psycopg.types.json import Jsonb

VIEWS = {"activity", "activity_targets"}


@pytest.fixture
def engine(db):
    insert = ("INSERT INTO immutable.events (id, tenant_id, actor_id, action, resource_type, targets, metadata, ip_address, occurred_at) "
              "VALUES (%s, %s, 'u', %s, 'document', %s, %s, %s, %s)")
    team = [{"type": "team", "id": f"t{n}"} for n in range(3)]
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.UTC)
    db.conn.execute(insert, ["00000000-0000-4000-8000-000000000001", "acme", "shared", Jsonb(team), Jsonb({"n": 1.5}), "203.0.113.7", when])
    db.conn.execute(insert, ["00000000-0000-4000-8000-000000000002", "acme", "shared", Jsonb(team[:1]), Jsonb({}), "10.0.0.0/8", when])
    db.conn.execute(insert, ["00000000-0000-4000-8000-000000000002", "beta", "shared", Jsonb([]), Jsonb({}), None, when])
    role = db.create_role("IN ROLE immutable_auditor")
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(db.server.dsn(db.name, role)))
    yield engine
    engine.dispose()


def test_a_client_library_finds_their_types_and_comments(engine):
    inspector = sqlalchemy.inspect(engine)
    assert VIEWS <= set(inspector.get_view_names("immutable"))
    for view in VIEWS:
        columns = inspector.get_columns(view, schema="immutable")
        assert [c["name"] for c in columns if not c["comment"]] == []
        assert [c["name"] for c in columns if isinstance(c["type"], sqlalchemy.types.NullType)] == []
        assert inspector.get_table_comment(view, schema="immutable")["text"]
    types = {c["name"]: c["type"].python_type for c in inspector.get_columns("activity", schema="immutable")
             if not isinstance(c["type"], sqlalchemy.dialects.postgresql.INET)}
    assert types["created_at"] is types["occurred_at"] is datetime.datetime
    assert types["event_hash"] is types["previous_event_hash"] is str
    assert types["lane"] is types["seq"] is types["target_count"] is types["version"] is int
    assert types["is_erased"] is bool and issubclass(dict, types["metadata"])


def test_the_rows_of_the_views(engine):
    meta = sqlalchemy.MetaData()
    activity, targets = (sqlalchemy.Table(view, meta, schema="immutable", autoload_with=engine) for view in ("activity", "activity_targets"))
    select, count, total = sqlalchemy.select, sqlalchemy.func.count, sqlalchemy.func.sum
    with engine.connect() as conn:
        first, second, beta = conn.execute(select(activity).order_by(activity.c.tenant_id, activity.c.seq)).mappings()
        assert first["occurred_at"] == datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.UTC)
        assert first["metadata"] == {"n": 1.5} and first["ip_address"] == ipaddress.ip_address("203.0.113.7")
        assert second["ip_address"] == ipaddress.ip_interface("10.0.0.0/8")
        assert (first["target_count"], second["target_count"], beta["target_count"]) == (3, 1, 0)
        assert len(first["event_hash"]) == 64 and first["previous_event_hash"] is None
        assert second["previous_event_hash"] == first["event_hash"]
        assert not first["is_erased"]
        # Joined, an event comes as often as it has targets. It can still be counted once.
        joined = activity.join(targets, (activity.c.event_id == targets.c.event_id) & (activity.c.tenant_id == targets.c.tenant_id))
        rows, events = conn.execute(select(count(), total(targets.c.event_count)).select_from(joined)).one()
        assert (rows, events) == (4, 2)
        by_target = select(targets.c.target_id, count()).where(targets.c.target_type == "team").group_by(targets.c.target_id)
        assert dict(map(tuple, conn.execute(by_target))) == {"t0": 2, "t1": 1, "t2": 1}


def test_the_views_show_a_role_the_same_rows_as_the_tables(db, engine):
    """security_invoker: the caller's rights and row security, not the owner's."""
    writer, nobody = db.create_role("IN ROLE immutable_writer"), db.create_role()
    db.conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {nobody}")
    for role in (writer, nobody):
        for view in VIEWS:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.connect(role).execute(f"SELECT FROM immutable.{view}")
    # With a right to the view alone there is none to the table below it.
    db.conn.execute(f"GRANT SELECT ON immutable.activity, immutable.activity_targets TO {nobody}, {writer}")
    for view, table in (("activity", "events"), ("activity_targets", "event_targets")):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"{table}$"):
            db.connect(nobody).execute(f"SELECT FROM immutable.{view}")
    # A writer sees its own transaction's.
    with db.connect(writer, autocommit=False) as conn:
        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('acme', 'w', 'own')")
        assert conn.execute("SELECT array_agg(action) FROM immutable.activity").fetchone()[0] == ["own"]
        conn.rollback()
    viewer = db.create_role()
    for table in ("events", "event_targets"):
        db.unguard()
        db.conn.execute(f"CREATE POLICY {viewer} ON immutable.{table} FOR SELECT TO {viewer} USING (tenant_id = 'acme')")
    db.conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {viewer}")
    db.conn.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA immutable TO {viewer}")
    count = "SELECT (SELECT count(*) FROM immutable.activity), (SELECT sum(event_count) FROM immutable.activity_targets)"
    assert db.connect(viewer).execute(count).fetchone() == (2, 2)
    assert db.conn.execute(count).fetchone() == (3, decimal.Decimal(2))


def shape(value):
    """The members of a JSON value, and of those of its members that are objects."""
    return {name: shape(member) if isinstance(member, dict) and name != "metadata" else None for name, member in value.items()}


def test_the_guides_example_event_is_accurate(db):
    guide = (pathlib.Path(__file__).resolve().parents[2] / "docs/reading.md").read_text()
    shown = json.loads(re.search(r"^```json\n(.*?)^```", guide, re.S | re.M)[1])
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('acme', 'u', 'x')")
    page, = db.conn.execute("SELECT immutable.get_events()").fetchone()
    one, = db.conn.execute("SELECT immutable.get_event(%s)", [page["data"][0]["id"]]).fetchone()
    changes, = db.conn.execute("SELECT immutable.changes()").fetchone()
    for event in (page["data"][0], one["data"], *changes["data"]):
        assert shape(event) == shape(shown)
    columns = {row[0] for row in db.conn.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid::regclass::text ~ '^immutable\\.(events|event_targets|activity|activity_targets)$' AND attnum > 0")}
    filters = set(db.conn.execute("SELECT proargnames FROM pg_proc WHERE proname = 'get_events'").fetchone()[0])
    for row in re.findall(r"^\| (.*) \| (.*) \| (.*) \|$", guide, re.M)[1:]:
        names = re.findall(r"`(\w+)`", row[1])
        assert set(names) - {"event_targets", "activity_targets"} <= columns, row
        assert set(re.findall(r"`(\w+)`", row[2])) <= filters, row


def test_the_query_for_grafana_runs(db):
    guide = (pathlib.Path(__file__).resolve().parents[2] / "docs/reports.md").read_text()
    query = re.search(r"^    (SELECT \$__timeGroup.*?)\Z", guide, re.S | re.M)[1]
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('acme', 'u', 'x')")
    # What Grafana puts in for its macros.
    query = query.replace("$__timeGroup(created_at, '1h')", "date_trunc('hour', created_at)")
    query = query.replace("$__timeFilter(created_at)", "created_at BETWEEN now() - interval '1 hour' AND now() + interval '1 hour'")
    assert [row[1:] for row in db.conn.execute(query).fetchall()] == [("x", 1)]
