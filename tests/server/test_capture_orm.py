"""Django and SQLAlchemy on tracked tables that they own: migrations go on, every way to write leaves the events that it
should, and what is rolled back leaves none. The mappers' role has no right to the log. Mappers of the log itself:
test_write_applications.py."""

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import ForeignKey, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.orm.exc import StaleDataError


@pytest.fixture
def owner(db):
    """A role that owns its tables, and is nothing to the log."""
    role = db.create_role()
    db.conn.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {role}")
    return role


@pytest.fixture
def django(db, owner):
    import django
    from django.conf import settings
    from django.db import connections

    if not settings.configured:
        settings.configure(DATABASES={}, INSTALLED_APPS=[], USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
        django.setup()
    connections.settings = connections.configure_settings({
        "default": {"ENGINE": "django.db.backends.postgresql", "NAME": db.name, "USER": owner, "HOST": db.server.host, "PORT": db.server.port}})
    yield connections
    connections.close_all()
    for connection in connections.all(initialized_only=True):
        del connections[connection.alias]


class Migrations:
    """An app whose models are what its migrations have made of them."""

    def __init__(self):
        from django.db import migrations, models
        from django.db.migrations.state import ProjectState
        self.state = ProjectState()
        self.migrate(
            migrations.CreateModel("Customer", [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50))]),
            migrations.CreateModel("Invoice", [
                ("id", models.BigAutoField(primary_key=True)),
                ("number", models.CharField(max_length=20, unique=True)),
                ("amount", models.IntegerField(default=0)),
                ("paid", models.BooleanField(default=False)),
                ("customer", models.ForeignKey("shop.Customer", models.CASCADE, null=True))]))

    def migrate(self, *operations):
        from django.db import connection
        for operation in operations:
            before, after = self.state, self.state.clone()
            operation.state_forwards("shop", after)
            with connection.schema_editor(atomic=operation.atomic is not False) as editor:
                operation.database_forwards("shop", editor, before, after)
            self.state = after

    def model(self, name):
        return self.state.apps.get_model("shop", name)


@pytest.fixture
def shop(db, django):
    """The app, with its tables tracked by a superuser."""
    made = Migrations()
    db.conn.execute("SELECT immutable.track_table('shop_customer', resource_type => 'customer')")
    db.conn.execute("SELECT immutable.track_table('shop_invoice', resource_type => 'invoice', subject_columns => '{customer_id}')")
    return made


class Recorded:
    """The row changes that were recorded since the last look, in their order."""

    def __init__(self, db):
        self.db, self.seen = db, set()
        self()

    def __call__(self, of=""):
        rows = self.db.conn.execute(
            "SELECT id, action, resource_id, metadata FROM immutable.events WHERE starts_with(action, %s) ORDER BY created_at, seq", [of]).fetchall()
        new = [row[1:] for row in rows if row[0] not in self.seen]
        self.seen |= {row[0] for row in rows}
        return [row for row in new if of or not row[0].startswith("immutable.")]


@pytest.fixture
def recorded(db):
    return Recorded(db)


def changed(**columns):
    return {name: {"old": old, "new": new} for name, (old, new) in columns.items()}


def no_problem(db):
    assert db.conn.execute("SELECT array_agg(problem) FROM immutable.tracked_tables WHERE problem IS NOT NULL").fetchone() == (None,)
    assert db.conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone() == (True,)


# ---------------------------------------------------------------------------------------------------------------------
# Django

def test_migrations_of_django_run_on_tracked_tables(db, shop, recorded, owner):
    from django.db import migrations, models
    invoice = shop.model("Invoice").objects.create(number="A-1", amount=10)
    assert [row[:2] for row in recorded()] == [("invoice.created", str(invoice.pk))]

    def change(**values):
        """Saves values into the row, with the model as it is now, and gives the metadata of its events."""
        model = shop.model("Bill" if ("shop", "bill") in shop.state.models else "Invoice")
        row = model.objects.get(pk=invoice.pk)
        for name, value in values.items():
            setattr(row, name, value)
        row.save()
        events = recorded()
        assert {event[:2] for event in events} <= {("invoice.updated", str(invoice.pk))}
        return [event[2] for event in events]

    shop.migrate(migrations.AddField("invoice", "notes", models.CharField(max_length=30, default="none")))
    # The column has come with a default, which no row was changed for.
    assert recorded() == []
    assert change(notes="urgent") == [changed(notes=("none", "urgent"))]

    shop.migrate(migrations.AlterField("invoice", "notes", models.TextField(null=True)))
    assert change(notes=None) == [changed(notes=("urgent", None))]

    # This rewrites the table past its triggers, and is recorded as such, by whom it was done.
    shop.migrate(migrations.AlterField("invoice", "amount", models.BigIntegerField(default=0)))
    rewritten = db.conn.execute("SELECT actor_id, resource_id, metadata FROM immutable.events WHERE action = 'immutable.table_rewritten'").fetchall()
    assert rewritten == [(owner, "public.shop_invoice", {"cause": "ALTER TABLE", "columns": "amount"})]
    assert recorded() == []
    assert change(amount=2**40) == [changed(amount=(10, 2**40))]

    shop.migrate(migrations.RenameField("invoice", "notes", "remarks"))
    assert change(remarks="late") == [changed(remarks=(None, "late"))]

    # RenameModel also renames the column of the foreign key's table; the resource's type stays.
    shop.migrate(migrations.RenameModel("Invoice", "Bill"))
    assert change(paid=True) == [changed(paid=(False, True))]
    assert db.conn.execute("SELECT relation FROM immutable.tracked_tables WHERE resource_type = 'invoice'").fetchone() == ("public.shop_bill",)

    shop.migrate(migrations.RemoveField("bill", "remarks"))
    assert recorded() == []
    assert change(number="A-2") == [changed(number=("A-1", "A-2"))]
    # An index and a constraint are no changes of rows.
    shop.migrate(migrations.AddIndex("bill", models.Index(fields=["paid"], name="bill_paid")),
                 migrations.AddConstraint("bill", models.UniqueConstraint(fields=["number", "paid"], name="bill_number_paid")))
    assert change(amount=1) == [changed(amount=(2**40, 1))]
    no_problem(db)
    # The table goes, and the log says so.
    shop.migrate(migrations.DeleteModel("Bill"))
    assert db.conn.execute("SELECT count(*) FROM immutable.events WHERE action = 'immutable.table_untracked'").fetchone() == (1,)
    no_problem(db)


def test_a_masked_column_that_a_migration_renames_stays_masked(db, shop, recorded):
    from django.db import migrations
    db.conn.execute("SELECT immutable.track_table('shop_invoice', resource_type => 'invoice', mask => '{number}', exclude => '{paid}')")
    invoice = shop.model("Invoice").objects.create(number="secret-1")
    shop.migrate(migrations.RenameField("invoice", "number", "code"), migrations.RenameField("invoice", "paid", "is_paid"))
    shop.model("Invoice").objects.filter(pk=invoice.pk).update(code="secret-2", is_paid=True)
    assert [event[2].get("code") for event in recorded()] == [None, {"changed": True}]
    assert db.conn.execute("SELECT count(*) FROM immutable.events e WHERE e::text LIKE '%secret-%' OR e::text LIKE '%paid%' "
                           "AND action <> 'immutable.table_tracked'").fetchone() == (0,)
    no_problem(db)


def test_every_way_of_django_to_write(db, shop, recorded):
    from django.db import transaction
    from django.db.models import F
    model, customers = shop.model("Invoice"), shop.model("Customer")
    ada = customers.objects.create(name="Ada")
    assert recorded() == [("customer.created", str(ada.pk), {"id": {"new": ada.pk}, "name": {"new": "Ada"}})]

    many = model.objects.bulk_create([model(number=f"B-{n}", amount=n, customer=ada) for n in range(3)])
    assert [(action, key, metadata["number"]) for action, key, metadata in recorded()] == [
        ("invoice.created", str(row.pk), {"new": f"B-{n}"}) for n, row in enumerate(many)]
    assert db.conn.execute("SELECT DISTINCT targets FROM immutable.events WHERE action = 'invoice.created'").fetchall() == [
        ([{"id": str(ada.pk), "type": "customer"}],)]

    # Only two of the three are changed by it.
    many[0].amount, many[2].amount = 100, 102
    model.objects.bulk_update(many, ["amount"])
    assert sorted(recorded()) == [("invoice.updated", str(many[0].pk), changed(amount=(0, 100))),
                                  ("invoice.updated", str(many[2].pk), changed(amount=(2, 102)))]

    # It locks the row, and updates it; the second time nothing changes.
    for events in ([("invoice.updated", str(many[1].pk), changed(paid=(False, True)))], []):
        model.objects.update_or_create(number="B-1", defaults={"paid": True})
        assert recorded() == events
    made, _ = model.objects.update_or_create(number="B-9", defaults={"amount": 9})
    assert [row[:2] for row in recorded()] == [("invoice.created", str(made.pk))]
    model.objects.get_or_create(number="B-9")
    with transaction.atomic():
        assert model.objects.select_for_update().count() == 4
    assert recorded() == []

    model.objects.filter(number__in=["B-0", "B-2"]).update(amount=F("amount") + 1)
    assert sorted(event[2]["amount"]["new"] for event in recorded()) == [101, 103]
    made.save(update_fields=["number"])
    assert recorded() == []

    # An upsert: one row is there and one is not.
    model.objects.bulk_create([model(number="B-0", amount=7), model(number="B-7", amount=7)], update_conflicts=True,
                              unique_fields=["number"], update_fields=["amount"])
    assert sorted((action, metadata["amount"]) for action, _, metadata in recorded()) == [
        ("invoice.created", {"new": 7}), ("invoice.updated", {"old": 101, "new": 7})]
    model.objects.bulk_create([model(number="B-0")], ignore_conflicts=True)
    assert recorded() == []

    # Django deletes what refers to the row, and then the row.
    ada.delete()
    assert [action for action, _, _ in recorded()] == ["invoice.deleted"] * 3 + ["customer.deleted"]
    no_problem(db)


def test_savepoints_and_a_test_that_rolls_back(db, shop, recorded):
    from django.db import IntegrityError, connection, transaction
    model = shop.model("Invoice")
    with transaction.atomic():
        model.objects.create(number="kept")
        for number in ("taken back", "kept"):
            try:
                with transaction.atomic():
                    model.objects.create(number="with " + number)
                    model.objects.create(number=number)
                    if number == "taken back":
                        raise ValueError
            except (ValueError, IntegrityError):
                pass
        with transaction.atomic():
            model.objects.create(number="kept too")
    assert [metadata["number"]["new"] for _, _, metadata in recorded()] == ["kept", "kept too"]

    # As TestCase does: the test sees its rows, and the log nothing, within and afterwards.
    with transaction.atomic():
        model.objects.create(number="tested")
        assert model.objects.filter(number="tested").exists()
        assert recorded() == []
        transaction.set_rollback(True)
    assert recorded() == [] and not connection.in_atomic_block
    no_problem(db)


def test_the_application_says_who_its_user_is_if_it_is_trusted(db, shop, owner):
    from django.db import connection, transaction
    model = shop.model("Invoice")
    for number, trusted in (("1", False), ("2", True)):
        if trusted:
            db.conn.execute("LOAD 'immutable'")
            db.conn.execute(f"ALTER DATABASE {db.name} SET immutable.trust_context_of = '{owner}'")
            connection.close()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('immutable.actor_id', %s, true)", [f"user_{number}"])
            model.objects.create(number=number)
        # On the same connection, as from a pool: nothing is left of it.
        model.objects.create(number=number + " later")
    found = db.conn.execute("SELECT metadata #>> '{number,new}', actor_id, recorded_by FROM immutable.events "
                            "WHERE action = 'invoice.created' ORDER BY created_at").fetchall()
    assert found == [("1", owner, owner), ("1 later", owner, owner), ("2", "user_2", owner), ("2 later", owner, owner)]


# ---------------------------------------------------------------------------------------------------------------------
# SQLAlchemy

class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int] = mapped_column()
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan")
    __mapper_args__ = {"version_id_col": version}


class Book(Base):
    __tablename__ = "books"
    isbn: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    stock: Mapped[int] = mapped_column(default=0)
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))
    author: Mapped[Author] = relationship(back_populates="books")


@pytest.fixture
def engine(db, owner):
    made = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(db.server.dsn(db.name, owner)))
    Base.metadata.create_all(made)
    db.conn.execute("SELECT immutable.track_table('authors', resource_type => 'author')")
    db.conn.execute("SELECT immutable.track_table('books', resource_type => 'book', subject_columns => '{author_id}')")
    yield made
    made.dispose()


def test_the_unit_of_work_of_sqlalchemy(db, engine, recorded):
    with Session(engine) as session:
        # Children are named first; the flush inserts parents first, and so the events come.
        book = Book(isbn="1", title="On Tables", author=Author(name="Ada"))
        session.add_all([book, Book(isbn="2", title="On Rows", author=book.author)])
        session.flush()
        assert recorded() == []  # not before the commit
        book.title = "On Tables, again"
        session.commit()
        made = recorded()
        assert [(action, key) for action, key, _ in made] == [
            ("author.created", "1"), ("book.created", "1"), ("book.created", "2"), ("book.updated", "1")]
        assert made[0][2] == {"id": {"new": 1}, "name": {"new": "Ada"}, "version": {"new": 1}}
        assert made[3][2] == changed(title=("On Tables", "On Tables, again"))

        # The version counts with each update, and is a change as every other.
        author = book.author
        author.name = "Ada Byron"
        session.commit()
        assert recorded() == [("author.updated", "1", changed(name=("Ada", "Ada Byron"), version=(1, 2)))]

        # Somebody else was first: the flush fails, and nothing of it is recorded.
        assert author.version == 2
        with Session(engine) as other, other.begin():
            other.get(Author, 1).name = "Ada Lovelace"
        assert recorded() == [("author.updated", "1", changed(name=("Ada Byron", "Ada Lovelace"), version=(2, 3)))]
        author.name = "too late"
        with pytest.raises(StaleDataError):
            session.commit()
        session.rollback()
        assert recorded() == []

        # A key that changes, and orphans that go with their parent.
        session.get(Book, "2").isbn = "3"
        session.commit()
        assert recorded() == [("book.updated", "2", changed(isbn=("2", "3")))]
        assert db.conn.execute("SELECT targets @> '[{\"type\": \"book\", \"id\": \"3\"}]' FROM immutable.events "
                               "WHERE metadata ? 'isbn' AND action = 'book.updated'").fetchone() == (True,)
        session.delete(session.get(Author, 1))
        session.commit()
        assert [(action, key) for action, key, _ in recorded()] == [("book.deleted", "1"), ("book.deleted", "3"), ("author.deleted", "1")]
    no_problem(db)


def test_many_rows_savepoints_and_upserts_of_sqlalchemy(db, engine, recorded):
    with Session(engine) as session:
        session.execute(insert(Author), [{"id": n, "name": f"author {n}", "version": 1} for n in range(1, 6)])
        # One statement with 50 rows, and one that is executed 50 times.
        session.execute(insert(Book), [{"isbn": f"b{n:02}", "title": "t", "author_id": n % 5 + 1} for n in range(50)])
        session.commit()
        assert [(action, key) for action, key, _ in recorded()] == (
            [("author.created", str(n)) for n in range(1, 6)] + [("book.created", f"b{n:02}") for n in range(50)])
        session.execute(sqlalchemy.update(Book), [{"isbn": f"b{n:02}", "stock": n} for n in range(50)])
        session.commit()
        # Of book 0 nothing has changed.
        assert recorded() == [("book.updated", f"b{n:02}", changed(stock=(0, n))) for n in range(1, 50)]

        upsert = postgresql.insert(Book).values([
            {"isbn": "b01", "title": "t", "author_id": 2, "stock": 5}, {"isbn": "b99", "title": "new", "author_id": 2, "stock": 1}])
        session.execute(upsert.on_conflict_do_update(index_elements=["isbn"], set_={"stock": upsert.excluded.stock}))
        session.execute(upsert.on_conflict_do_nothing())
        session.commit()
        assert sorted((action, key, metadata["stock"]) for action, key, metadata in recorded()) == [
            ("book.created", "b99", {"new": 1}), ("book.updated", "b01", {"old": 1, "new": 5})]

        session.add(Author(id=7, name="kept", version=1))
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            session.add(Author(id=8, name="taken back", version=1))
            session.flush()
            raise ZeroDivisionError
        with session.begin_nested():
            session.get(Author, 7).name = "kept twice"
        session.commit()
        assert [(action, key, metadata["name"]) for action, key, metadata in recorded()] == [
            ("author.created", "7", {"new": "kept"}), ("author.updated", "7", {"old": "kept", "new": "kept twice"})]
        assert session.scalar(select(sqlalchemy.func.count()).select_from(Author)) == 6
    no_problem(db)
