"""Object mappers record with a writer's rights, with their own ways of naming columns, and every block of docs/orm.md runs."""

import io
import pathlib
import re
import uuid

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session

ROOT = pathlib.Path(__file__).resolve().parents[2]
WITH_CONTEXT = "SELECT set_config('immutable.tenant_id', 'session', true), set_config('immutable.actor_id', 'alice', true)"


@pytest.fixture
def writer(db):
    return db.create_role("IN ROLE immutable_writer")


@pytest.fixture
def engine(db, writer):
    made = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(db.server.dsn(db.name, writer)))
    yield made
    made.dispose()


@pytest.fixture
def django(db, writer):
    """Django's connections `default`, a writer's, and `superuser`, to this test's database."""
    import django
    from django.conf import settings
    from django.db import connections

    if not settings.configured:
        settings.configure(DATABASES={}, INSTALLED_APPS=[], USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
        django.setup()
    connections.settings = connections.configure_settings({
        alias: {"ENGINE": "django.db.backends.postgresql", "NAME": db.name, "USER": user, "HOST": db.server.host, "PORT": db.server.port,
                "OPTIONS": {"options": "-c search_path=immutable"}} for alias, user in [("default", writer), ("superuser", "postgres")]})
    yield connections
    connections.close_all()
    for connection in connections.all(initialized_only=True):
        del connections[connection.alias]


def recorded(db, action):
    return db.conn.execute("SELECT tenant_id, actor_id, id FROM immutable.events WHERE action = %s ORDER BY created_at", [action]).fetchall()


def test_every_block_of_the_page_runs(db, engine, django, capsys):
    programs = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/orm.md").read_text(), re.M | re.S)
    names = {"engine": engine, "__name__": "page"}
    for program in programs:
        exec(compile(program, "docs/orm.md", "exec"), names)
    assert [len(line.split()) for line in capsys.readouterr().out.splitlines()] == [3, 3, 3]
    assert names["recorded"].seq == 3 and names["recorded"].created_at
    events = db.conn.execute("SELECT tenant_id, actor_id, action, metadata, host(ip_address) FROM immutable.events ORDER BY seq").fetchall()
    context = ("org_7rT2xBc", "user_2hG9kLm")
    assert events == [
        (*context, "document.created", {"size": 1024}, "203.0.113.7"),
        (*context, "document.viewed", {}, None), (*context, "document.created", {"size": 1024}, "203.0.113.7")]
    model = names["AuditEvent"]
    many = model.objects.bulk_create([model(tenant_id="many", actor_id="u", action=f"many.{n}") for n in range(3)])
    assert [event.seq for event in many] == [1, 2, 3] and len({id for n in range(3) for *_, id in recorded(db, f"many.{n}")}) == 3
    assert model.objects.count() == 0
    assert db.conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone() == (True,)


def test_a_reflected_model_records_once_and_returns_the_key(db, engine):
    """Every column is named, with NULL."""
    metadata = sqlalchemy.MetaData(schema="immutable")
    with pytest.warns(sqlalchemy.exc.SAWarning, match="xid8"):
        metadata.reflect(engine, only=["events"])
    base = automap_base(metadata=metadata)
    base.prepare()
    event = base.classes.events
    own = uuid.uuid4()
    with Session(engine, expire_on_commit=False) as session, session.begin():
        session.execute(sqlalchemy.text(WITH_CONTEXT))
        made = [event(action="mapped"), event(action="mapped", tenant_id="given", actor_id="bob"), event(action="mapped", id=own)]
        for each in made:
            session.add(each)
            session.flush()
        session.refresh(made[0])
        assert made[0].seq == 1 and made[0].created_at
    assert recorded(db, "mapped") == [("session", "alice", made[0].id), ("given", "bob", made[1].id), ("session", "alice", own)]
    assert [each.tenant_id for each in made] == ["session", "given", "session"]
    assert made[0].id.version == 7
    with engine.begin() as conn:
        result = conn.execute(metadata.tables["immutable.events"].insert(), {"action": "core", "actor_id": "u", "tenant_id": "core"})
        assert (result.inserted_primary_key.tenant_id, result.inserted_primary_key.id) == ("core", recorded_in(conn, "core"))
    # The error names the column that it may not set.
    with Session(engine) as session, pytest.raises(sqlalchemy.exc.DBAPIError, match="column seq is set by the log") as refused:
        session.add(event(action="mapped", actor_id="u", seq=1))
        session.flush()
    assert refused.value.orig.sqlstate == "428C9"


def recorded_in(conn, action):
    return conn.execute(sqlalchemy.text("SELECT id FROM immutable.events WHERE action = :action"), {"action": action}).scalar_one()


def inspected(without=()):
    """The model that Django's inspectdb writes."""
    from django.core.management import call_command
    written = io.StringIO()
    call_command("inspectdb", "events", database="superuser", stdout=written)
    source = written.getvalue()
    for field in without:
        source, found = re.subn(rf"^    {field} = .*\n", "", source, flags=re.M)
        assert found == 1
    name = f"Events{uuid.uuid4().hex}"
    source = source.replace("class Events", f"class {name}").replace("        managed = False\n", "        managed = False\n        app_label = 'inspected'\n")
    names = {}
    exec(source, names)
    return names[name]


def test_the_model_that_inspectdb_writes_can_record(db, django):
    from django.db import connection, transaction
    from django.db.utils import ProgrammingError, DataError

    model = inspected(without=["xact"])
    own = uuid.uuid4()
    with transaction.atomic():
        connection.cursor().execute(WITH_CONTEXT)
        model(action="django", tenant_id="session").save(force_insert=True)
        model(action="django", id=own, tenant_id="given", actor_id="bob").save(force_insert=True)
        model.objects.bulk_create(model(action="django", id=uuid.uuid4(), tenant_id=tenant) for tenant in ("session", "given"))
        # It sends missing values as empty texts, which means no tenant.
        model(action="django").save(force_insert=True)
    assert [event[:2] for event in recorded(db, "django")] == [
        ("session", "alice"), ("given", "bob"), ("session", "alice"), ("given", "alice"), ("", "alice")]
    assert own in [event[2] for event in recorded(db, "django")]
    with pytest.raises(ProgrammingError, match="column created_at is set by the log"), transaction.atomic():
        model(action="django", tenant_id="t", actor_id="u", created_at="2020-01-01T00:00:00Z").save(force_insert=True)
    # With the field whose type it guessed, nothing is recorded: xid8 takes no empty text, or takes it for 0.
    with pytest.raises((ProgrammingError, DataError), match="xact|xid8"), transaction.atomic():
        inspected()(action="django", tenant_id="t", actor_id="u").save(force_insert=True)
    assert len(recorded(db, "django")) == 5
