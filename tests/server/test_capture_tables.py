"""Tracked tables as their owners, as whoever tracks them and as whoever changes their rows can abuse them: nobody gains a
right, no code of theirs runs with the rights of the log's owner, and nobody but a tracker switches the recording off."""

import threading

import psycopg
import pytest
from helpers_servers import is_valid, rows
from psycopg import sql

# What a function of the owner's does, whoever it runs as: it notes the role, and takes what it can get.
SPY = """
    CREATE TABLE app.ran (role text, what text);
    GRANT ALL ON app.ran TO PUBLIC;
    CREATE FUNCTION app.spy(what text) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO app.ran VALUES (current_user, what);
      BEGIN
        EXECUTE format('ALTER ROLE %I SUPERUSER', (SELECT tableowner FROM pg_tables WHERE schemaname = 'app' AND tablename = 'ran'));
      EXCEPTION WHEN insufficient_privilege THEN NULL;
      END;
      RETURN true;
    END $$"""
OURS = "resource_type = 't' AND action NOT LIKE 'immutable.%%'"


class App:
    """A schema `app` with a table `t` of `owner`; `clerk` changes its rows, `tracker` tracks it."""

    def __init__(self, db):
        self.db = db
        self.names = {who: db.create_role() for who in ("owner", "clerk", "tracker")}
        db.conn.execute(sql.SQL("CREATE SCHEMA app AUTHORIZATION {owner}; GRANT USAGE ON SCHEMA app TO PUBLIC; "
                                "GRANT immutable_tracker TO {tracker}").format(**self.identifiers()))
        self.owner, self.clerk, self.tracker = (db.connect(self.names[who]) for who in ("owner", "clerk", "tracker"))
        self.owner.execute("CREATE TABLE app.t (id integer PRIMARY KEY, a integer, b text); GRANT ALL ON app.t TO PUBLIC")
        self.owner.execute(SPY)

    def identifiers(self):
        return {who: sql.Identifier(name) for who, name in self.names.items()}

    def track(self, *arguments, by=None, **named):
        names = sql.SQL("").join(sql.SQL(", {} => {}").format(sql.Identifier(name), sql.Placeholder()) for name in named)
        (by or self.tracker).execute(sql.SQL("SELECT immutable.track_table({}{})").format(
            sql.Literal(arguments[0] if arguments else "app.t"), names), list(named.values()))

    def condition(self, condition):
        """The condition, set by the table's owner, who tracks it too."""
        self.db.conn.execute(sql.SQL("GRANT immutable_tracker TO {owner}").format(**self.identifiers()))
        self.track(condition=condition, by=self.owner)

    def recorded(self, what="resource_id"):
        return [row[0] for row in rows(self.db.conn, f"SELECT {what} FROM immutable.events WHERE {OURS} "
                                                     "ORDER BY tenant_id, lane, seq".replace("%%", "%"))]

    def check_nothing_gained(self, *allowed):
        """The owner's code ran with no rights but of `allowed`, and nobody became more."""
        ran = {role for role, in rows(self.db.conn, "SELECT DISTINCT role FROM app.ran")}
        assert ran <= {self.names[who] for who in allowed}, ran
        superusers = [role for role, in rows(self.db.conn, "SELECT rolname FROM pg_roles WHERE rolsuper")]
        assert superusers == ["postgres"]
        assert is_valid(self.db.conn)


@pytest.fixture
def app(db):
    made = App(db)
    yield made
    db.conn.execute(sql.SQL("DROP SCHEMA app CASCADE"))
    for name in made.names.values():
        db.conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))


def refused(conn, state, statement, *values):
    with pytest.raises(psycopg.Error) as raised:
        conn.execute(statement, *values)
    assert raised.value.sqlstate == state, raised.value
    return raised.value.diag


# What the owner of the table makes


def test_no_cast_operator_or_type_of_the_owner_runs_with_the_logs_rights(app):
    app.owner.execute("""
        CREATE TYPE app.pair AS (x integer, y integer);
        CREATE FUNCTION app.pair_json(app.pair) RETURNS json LANGUAGE plpgsql AS
          $$BEGIN PERFORM app.spy('cast to json'); RETURN '1'; END$$;
        CREATE CAST (app.pair AS json) WITH FUNCTION app.pair_json(app.pair) AS IMPLICIT;
        CREATE FUNCTION app.pair_text(app.pair) RETURNS text LANGUAGE plpgsql AS
          $$BEGIN PERFORM app.spy('cast to text'); RETURN '1'; END$$;
        CREATE CAST (app.pair AS text) WITH FUNCTION app.pair_text(app.pair) AS IMPLICIT;
        CREATE FUNCTION app.same(app.pair, app.pair) RETURNS boolean LANGUAGE plpgsql AS
          $$BEGIN RETURN app.spy('= of a type'); END$$;
        CREATE OPERATOR app.= (LEFTARG = app.pair, RIGHTARG = app.pair, FUNCTION = app.same);
        CREATE FUNCTION app.same(integer, integer) RETURNS boolean LANGUAGE plpgsql AS
          $$BEGIN RETURN app.spy('= of integers'); END$$;
        CREATE OPERATOR app.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = app.same);
        CREATE OPERATOR app.<> (LEFTARG = integer, RIGHTARG = integer, FUNCTION = app.same);
        CREATE DOMAIN app.checked AS text CHECK (app.spy('domain ' || VALUE));
        ALTER TABLE app.t ADD COLUMN pair app.pair, ADD COLUMN checked app.checked, ADD COLUMN pairs app.pair[]""")
    app.track(subject_columns=["pair"], tenant_column="checked")
    app.db.conn.execute("SET search_path = app, pg_catalog")
    for conn in (app.clerk, app.db.conn):
        conn.execute("TRUNCATE app.ran")
        conn.execute("SET search_path = app, pg_catalog")
        conn.execute("INSERT INTO app.t VALUES (1, 1, 'b', '(1,2)', 'T', '{\"(3,4)\"}')")
        conn.execute("UPDATE app.t SET pair = '(5,6)', a = 2")
        conn.execute("DELETE FROM app.t")
        # A value of a domain is checked where the statement makes it, by whoever runs the statement.
        assert {what for what, in rows(app.db.conn, "SELECT what FROM app.ran")} == {"domain T"}
        if conn is app.clerk:
            app.check_nothing_gained("clerk")
    app.db.conn.execute("RESET search_path")
    assert app.recorded("metadata -> 'pair' ->> 'new'") == ["(1,2)", "(5,6)", None] * 2
    assert app.recorded("tenant_id") == ["T"] * 6


def test_rules_and_triggers_of_the_owner_gain_nothing(app):
    app.track()
    refused(app.owner, "42501", "CREATE TRIGGER own AFTER INSERT ON app.t FOR EACH STATEMENT EXECUTE FUNCTION immutable.capture()")
    app.db.conn.execute(sql.SQL("GRANT immutable_tracker TO {owner}").format(**app.identifiers()))
    for function in ("capture", "resolve_tracking"):
        refused(app.owner, "42501", f"CREATE TRIGGER own AFTER INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION immutable.{function}()")
    app.owner.execute("""
        CREATE FUNCTION app.before() RETURNS trigger LANGUAGE plpgsql AS
          $$BEGIN PERFORM app.spy('trigger'); NEW.b := current_user; RETURN NEW; END$$;
        CREATE TRIGGER "~~~" BEFORE INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.before();
        CREATE RULE also AS ON DELETE TO app.t DO ALSO SELECT app.spy('rule')""")
    app.clerk.execute("INSERT INTO app.t VALUES (1, 1)")
    app.clerk.execute("DELETE FROM app.t")
    app.check_nothing_gained("clerk", "owner")
    assert app.recorded("action || ' ' || coalesce(metadata -> 'b' ->> 'new', '')") == [
        f"t.created {app.names['clerk']}", "t.deleted "]


def test_no_event_trigger_is_told_of_what_the_log_makes(app):
    app.db.conn.execute("""
        CREATE FUNCTION public.told() RETURNS event_trigger LANGUAGE plpgsql AS
          $$BEGIN RAISE EXCEPTION 'told of %', tg_tag; END$$;
        CREATE EVENT TRIGGER told ON ddl_command_end EXECUTE FUNCTION public.told();
        CREATE EVENT TRIGGER told_too ON sql_drop EXECUTE FUNCTION public.told()""")
    try:
        app.track()
        app.track(operations=["insert"])
        assert app.tracker.execute("SELECT immutable.untrack_table('app.t')").fetchone() == (True,)
    finally:
        app.db.conn.execute("DROP EVENT TRIGGER told; DROP EVENT TRIGGER told_too; DROP FUNCTION public.told()")
    assert rows(app.db.conn, "SELECT count(*) FROM immutable.events WHERE action LIKE 'immutable.capture\\_%'") == [(0,)]


def test_names_are_names(app):
    table, column, other = "a'\"; DROP TABLE app.t; --é", "c'\"), $1 --", "immutable_row"
    app.owner.execute(sql.SQL("CREATE TABLE app.{} (id integer PRIMARY KEY, {} text, {} text)").format(
        *map(sql.Identifier, (table, column, other))))
    app.db.conn.execute(sql.SQL("GRANT immutable_tracker TO {owner}").format(**app.identifiers()))
    name = sql.SQL("app.{}").format(sql.Identifier(table)).as_string(app.owner)
    condition = sql.SQL("{} <> 'no' AND {} <> 'no'").format(sql.Identifier(column), sql.Identifier(other)).as_string(app.owner)
    app.track(name, resource_type="t", mask=[column], tenant_column=other, condition=condition, by=app.owner)
    app.owner.execute(sql.SQL("INSERT INTO {} VALUES (1, 'yes', 'T'), (2, 'no', 'T'), (3, 'yes', 'no')").format(sql.SQL(name)))
    assert app.recorded() == ["1"]
    assert app.recorded("metadata") == [{"id": {"new": 1}, column: {"changed": True}, other: {"new": "T"}}]
    shown, problem = rows(app.db.conn, "SELECT relation, problem FROM immutable.tracked_tables")[0]
    assert (shown, problem) == (name, None)
    assert app.tracker.execute("SELECT immutable.untrack_table(%s)", [name]).fetchone() == (True,)


def test_a_table_of_1600_columns(app):
    columns = ", ".join(f"c{n} integer" for n in range(1, 1600))
    app.owner.execute(f"CREATE TABLE app.wide (id integer PRIMARY KEY, {columns})")
    app.db.conn.execute(sql.SQL("GRANT immutable_tracker TO {owner}").format(**app.identifiers()))
    app.track("app.wide", resource_type="t", condition=" OR ".join(f"c{n} = 7" for n in range(1, 1600, 100)), by=app.owner)
    app.owner.execute("INSERT INTO app.wide (id, c1501, c1599) VALUES (1, 7, 1), (2, 8, 1)")
    assert app.recorded() == ["1"]


# Conditions


def test_a_condition_is_evaluated_as_whoever_changes_the_row(app):
    asked = "CREATE OR REPLACE FUNCTION app.asked(integer) RETURNS boolean LANGUAGE plpgsql {} AS $$BEGIN {} END$$"
    app.owner.execute(asked.format("STABLE", "RETURN $1 > 1;"))
    app.condition("app.asked(a)")
    app.clerk.execute("INSERT INTO app.t VALUES (1, 1), (2, 2)")
    assert app.recorded() == ["2"]
    # A role that becomes another in the condition stays what it was, and that is an error.
    app.owner.execute(asked.format("STABLE", "SET ROLE postgres; RETURN false;"))
    app.clerk.execute("INSERT INTO app.t VALUES (3, 1)")
    assert app.recorded() == ["2", "3"]
    # In a session that knows the condition it may write from now on, with the rights of whoever calls it.
    app.owner.execute(asked.format("VOLATILE", "RETURN app.spy('condition') AND $1 > 1;"))
    app.clerk.execute("INSERT INTO app.t VALUES (4, 1), (5, 2)")
    assert app.recorded() == ["2", "3", "5"]
    assert rows(app.db.conn, "SELECT * FROM app.ran") == [(app.names["clerk"], "condition")] * 2
    # And it becomes nobody there either.
    app.owner.execute(asked.format("VOLATILE", "SET ROLE postgres; RETURN false;"))
    app.clerk.execute("INSERT INTO app.t VALUES (6, 1)")
    assert app.clerk.execute("SELECT current_user").fetchone() == (app.names["clerk"],)
    # A session that sees it for the first time does not evaluate it: every change is recorded, and so it is for whoever may
    # not call it.
    app.owner.execute(asked.format("VOLATILE", "RETURN app.spy('fresh') AND false;"))
    app.db.connect(app.names["clerk"]).execute("INSERT INTO app.t VALUES (7, 1)")
    app.owner.execute(asked.format("STABLE", "RETURN false;") + "; REVOKE ALL ON FUNCTION app.asked(integer) FROM PUBLIC")
    app.clerk.execute("INSERT INTO app.t VALUES (8, 1)")
    assert app.recorded() == ["2", "3", "5", "6", "7", "8"]
    app.check_nothing_gained("clerk")


@pytest.mark.parametrize("condition, attack", [
    ("a > 10", "CREATE FUNCTION pg_temp.never(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT false'; "
               "CREATE OPERATOR pg_temp.> (LEFTARG = integer, RIGHTARG = integer, FUNCTION = pg_temp.never); "
               "SET search_path = pg_temp, pg_catalog"),
    ("abs(a) > 10", "CREATE FUNCTION pg_temp.abs(integer) RETURNS integer LANGUAGE sql AS 'SELECT 0'; "
                    "SET search_path = pg_temp, pg_catalog"),
    ("a::int4 > 10", "CREATE DOMAIN pg_temp.int4 AS integer CHECK (VALUE < 0); SET search_path = pg_temp, pg_catalog"),
    ("(b = NULL) IS NULL", "SET transform_null_equals = on"),
    ("b <> 'x\\'", "SET standard_conforming_strings = off"),
    ("date '20/01/02' = '2020-01-02'", "SET datestyle = 'SQL, DMY'"),
    ("extract(hour FROM timestamptz '2020-01-01 00:00:00Z') = 0", "SET timezone = 'Asia/Tokyo'"),
    ("interval '1 day'::text = '1 day'", "SET intervalstyle = iso_8601"),
    ("'\\x00'::bytea::text = '\\x00'", "SET bytea_output = escape"),
    ("row(a, b) IS NOT NULL", "CREATE TEMP TABLE immutable_row (a text, b text)"),
])
def test_no_session_switches_the_recording_off(app, condition, attack):
    app.db.conn.execute("GRANT TEMPORARY ON DATABASE {} TO PUBLIC".format(app.db.name))
    app.condition(condition)
    app.clerk.execute("INSERT INTO app.t VALUES (1, 50, 'y')")
    assert app.recorded() == ["1"], "the condition is true without the attack"
    app.clerk.execute(attack)
    app.clerk.execute("INSERT INTO app.t VALUES (2, 50, 'y')")
    assert app.recorded() == ["1", "2"]
    fresh = app.db.connect(app.names["clerk"])
    fresh.execute(attack)
    fresh.execute("INSERT INTO app.t VALUES (3, 50, 'y')")
    assert app.recorded() == ["1", "2", "3"]


def test_a_timeout_in_a_condition_ends_the_statement(app):
    app.owner.execute("CREATE FUNCTION app.slow(integer) RETURNS boolean LANGUAGE plpgsql STABLE AS "
                      "$$BEGIN PERFORM pg_sleep(600); RETURN false; END$$")
    app.condition("app.slow(a)")
    app.clerk.execute("SET statement_timeout = '100ms'")
    refused(app.clerk, "57014", "INSERT INTO app.t VALUES (1, 1)")
    assert app.recorded() == [] and rows(app.db.conn, "SELECT count(*) FROM app.t") == [(0,)]


def test_a_condition_that_a_dump_brings_is_held_to_the_same_rules(app):
    """Whoever may restore writes rows of immutable.tracking, which no call has checked."""
    app.track()
    for condition in ("false) , (SELECT app.spy('restored')", "(SELECT NOT app.spy('restored'))", "app.spy('restored') AND false"):
        app.db.conn.execute("UPDATE immutable.tracking SET condition = %s", [condition])
        app.clerk.execute("INSERT INTO app.t VALUES (1, 1); DELETE FROM app.t")
    assert len(app.recorded()) == 6
    assert rows(app.db.conn, "SELECT * FROM app.ran") == []


# Whoever tracks


def test_a_tracker_gains_no_right_to_the_table_or_the_log(app):
    app.owner.execute("REVOKE ALL ON app.t FROM PUBLIC")
    app.owner.execute(sql.SQL("GRANT ALL ON app.t TO {clerk}").format(**app.identifiers()))
    app.track(mask=["b"])
    app.clerk.execute("INSERT INTO app.t VALUES (1, 1, 'secret')")
    for statement in ("SELECT * FROM app.t", "INSERT INTO app.t VALUES (2)", "ALTER TABLE app.t DISABLE TRIGGER ALL",
                      'DROP TRIGGER "~immutable_capture_insert" ON app.t', "SELECT * FROM immutable.events",
                      "INSERT INTO immutable.tracking SELECT * FROM immutable.tracking", "TRUNCATE immutable.tracking",
                      "UPDATE immutable.tracking SET mask = '{}'", "DELETE FROM immutable.tracked_tables",
                      "SELECT immutable.track_table('app.t', condition => 'true')"):
        refused(app.tracker, "42501", statement)
    app.check_nothing_gained()


def test_whoever_changes_rows_cannot_switch_the_recording_off(app):
    app.track()
    # In a session without the library, a setting of the extension's is anybody's, and does not count.
    app.clerk.execute("SET immutable.restore = on")
    app.clerk.execute("INSERT INTO app.t VALUES (1)")
    for statement in ("SET session_replication_role = replica", "SET immutable.restore = on", "SELECT immutable.untrack_table('app.t')",
                      "ALTER TABLE app.t DISABLE TRIGGER USER", "DELETE FROM immutable.tracking"):
        refused(app.clerk, "42501", statement)
    app.clerk.execute("BEGIN; SET CONSTRAINTS ALL IMMEDIATE; INSERT INTO app.t VALUES (2); COMMIT")
    assert app.recorded() == ["1", "2"]


# Sessions that know an older configuration


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_every_session_follows_a_new_configuration(app, isolation):
    app.clerk.execute("INSERT INTO app.t VALUES (1, 1, 'not tracked')")
    app.clerk.execute(f"SET default_transaction_isolation = '{isolation}'")
    app.track()
    app.clerk.execute("INSERT INTO app.t VALUES (2, 2, 'whole')")
    # A transaction that began before the change does not see the row, and follows it all the same.
    app.clerk.execute("BEGIN")
    app.clerk.execute("SELECT 1 FROM app.ran")
    app.clerk.execute("SAVEPOINT s")
    app.db.conn.execute("UPDATE immutable.tracking SET mask = '{b}'")
    app.clerk.execute("INSERT INTO app.t VALUES (3, 3, 'masked')")
    app.clerk.execute("COMMIT")
    app.clerk.execute("INSERT INTO app.t VALUES (4, 4, 'masked')")
    # What is rolled back is forgotten.
    app.clerk.execute("BEGIN")
    app.clerk.execute("INSERT INTO app.t VALUES (5, 5, 'gone')")
    app.clerk.execute("ROLLBACK")
    app.tracker.execute("BEGIN")
    app.track(exclude=["b"])
    app.tracker.execute("ROLLBACK")
    app.clerk.execute("INSERT INTO app.t VALUES (6, 6, 'masked')")
    masked = {"changed": True}
    assert app.recorded("metadata -> 'b'") == [{"new": "whole"}, masked, masked, masked]
    assert is_valid(app.db.conn)


def test_two_who_track_one_table_at_once(app):
    """The second waits for the first, and its call counts."""
    other = app.db.connect(app.names["tracker"])
    app.tracker.execute("BEGIN")
    app.track(mask=["b"])
    done = threading.Thread(target=lambda: other.execute("SELECT immutable.track_table('app.t', mask => '{a}')"))
    done.start()
    wait = "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND relation = 'app.t'::regclass"
    while not app.db.conn.execute(wait).fetchone()[0]:
        pass
    app.tracker.execute("COMMIT")
    done.join()
    assert rows(app.db.conn, "SELECT mask FROM immutable.tracked_tables") == [(["a"],)]
    assert rows(app.db.conn, "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'app.t'::regclass") == [(4,)]
