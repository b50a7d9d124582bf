"""from_date and to_date: a day that is given without a time means the whole day, however it is given."""

import datetime
import json

import psycopg
import pytest

# Events at these times, by their version.
TIMES = ["2026-03-28 23:59:59.999999+01", "2026-03-29 00:00:00+01", "2026-03-29 12:00:00+02", "2026-03-29 23:59:59.999999+02", "2026-03-30 00:00:00+02"]
DAY = datetime.date(2026, 3, 29)


@pytest.fixture
def log(db):
    for n in range(len(TIMES)):
        db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, version) VALUES ('t', 'u', 'x', %s)", [n])
    db.unguard()
    with db.conn.transaction():
        db.conn.execute("SET LOCAL session_replication_role = replica")
        for n, time in enumerate(TIMES):
            db.conn.execute("UPDATE immutable.events SET created_at = %s WHERE version = %s", [time, n])
    db.conn.execute("SET TimeZone = 'Europe/Berlin'")
    return db.conn


def versions(conn, arguments, given=()):
    rows = conn.execute(f"SELECT version FROM immutable.find_events(tenant_id => 't', {arguments}) ORDER BY version", given).fetchall()
    answer, = conn.execute(f"SELECT immutable.get_events(tenant_id => 't', {arguments})", given).fetchone()
    found = [row[0] for row in rows]
    assert sorted(event["version"] for event in answer["data"]) == found
    assert answer["pagination"]["total"] == len(found)
    lines = conn.execute(f"SELECT immutable.export_events(tenant_id => 't', {arguments})", given).fetchall()
    assert len(lines) - 2 == len(found)
    return found


def test_a_day_is_the_whole_day(log):
    """In Berlin this one has 23 hours."""
    for day in ("'2026-03-29'", "'2026-3-29'", "'20260329'", "'29 March 2026'", "'29-mar-2026'", "date '2026-03-29'", "'2026-03-29'::date",
                "' 2026-03-29 '", "'2026-03-29'::immutable.day_or_time"):
        assert versions(log, f"from_date => {day}, to_date => {day}") == [1, 2, 3], day
        assert versions(log, f"to_date => {day}") == [0, 1, 2, 3], day
        assert versions(log, f"from_date => {day}") == [1, 2, 3, 4], day
    # A time means that one microsecond.
    for midnight in ("'2026-03-29 00:00'", "'2026-03-29T00:00:00'", "'20260329T000000'", "'20260329 000000'", "'2026-03-29 00:00:00+01'", "'2026-03-28T23:00:00Z'",
                     "timestamptz '2026-03-29'", "timestamp '2026-03-29'", "'2026-03-29'::timestamptz"):
        assert versions(log, f"from_date => {midnight}, to_date => {midnight}") == [1], midnight
    # A Julian day is one, and a part of it is a time: the second half begins at noon.
    for julian in ("J2461129", "JD2461129", " julian 2461129"):
        assert versions(log, f"from_date => '{julian}', to_date => '{julian}'") == [1, 2, 3], julian
    for noon in ("J2461129.5", "jd2461129.5", " Julian 2461129.5"):
        assert versions(log, f"from_date => '{noon}'") == versions(log, "from_date => '2026-03-29 12:00'"), noon
        assert versions(log, f"to_date => '{noon}'") == versions(log, "to_date => '2026-03-29 12:00'"), noon
    # A day and a time as bounds of one range, and PostgreSQL's special words.
    assert versions(log, "from_date => '2026-03-29 12:00', to_date => date '2026-03-29'") == [2, 3]
    assert versions(log, "from_date => date '2026-03-29', to_date => '2026-03-29 12:00'") == [1, 2]
    assert versions(log, "from_date => '-infinity', to_date => 'infinity'") == versions(log, "from_date => date '-infinity'") == [0, 1, 2, 3, 4]
    assert versions(log, "from_date => 'epoch', to_date => 'epoch'") == versions(log, "from_date => 'infinity'") == []
    log.execute("SET TimeZone = 'UTC'")
    assert versions(log, "from_date => '2026-03-29', to_date => '2026-03-29'") == [2, 3, 4]
    assert versions(log, "to_date => '2026-03-28'") == [0, 1]


@pytest.mark.parametrize("zone, day, times", [
    # Clocks go from 24:00 to 01:00: this day begins at 1, and the next at midnight all the same.
    ("America/Santiago", "2026-09-06", ["2026-09-05 23:59:59.999999-04", "2026-09-06 01:00-03", "2026-09-06 23:59:59.999999-03",
                                        "2026-09-07 00:00-03", "2026-09-07 00:30-03"]),
    # They go from 01:00 back to 00:00: this day has its first hour twice.
    ("America/Havana", "2026-11-01", ["2026-10-31 23:59:59.999999-04", "2026-11-01 00:00-04", "2026-11-01 23:59:59.999999-05",
                                      "2026-11-02 00:00-05", "2026-11-02 00:30-05"]),
    # From 24:00 back to 23:00: the day before has its last hour twice.
    ("America/Santiago", "2026-04-05", ["2026-04-04 23:30-04", "2026-04-05 00:00-04", "2026-04-05 23:59:59.999999-04",
                                        "2026-04-06 00:00-04", "2026-04-06 00:30-04"]),
    # The 30th was left out.
    ("Pacific/Apia", "2011-12-29", ["2011-12-28 23:59:59.999999-10", "2011-12-29 00:00-10", "2011-12-29 23:59:59.999999-10",
                                    "2011-12-31 00:00+14", "2012-01-01 00:00+14"]),
])
def test_days_on_which_the_clocks_change(log, zone, day, times):
    with log.transaction():
        log.execute("SET LOCAL session_replication_role = replica")
        for n, time in enumerate(times):
            log.execute("UPDATE immutable.events SET created_at = %s WHERE version = %s", [time, n])
    log.execute(f"SET TimeZone = '{zone}'")
    for given in (f"'{day}'", f"date '{day}'"):
        assert versions(log, f"from_date => {given}, to_date => {given}") == [1, 2]
        assert versions(log, f"to_date => {given}") == [0, 1, 2]
        assert versions(log, f"from_date => {given}") == [1, 2, 3, 4]


def test_today_is_a_day_and_now_is_a_time(db):
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, version) VALUES ('t', 'u', 'x', 7)")
    # At midnight yesterday is today.
    assert versions(db.conn, "from_date => 'yesterday', to_date => 'today'") == versions(db.conn, "to_date => 'now'") == [7]
    assert versions(db.conn, "from_date => 'now'") == versions(db.conn, "from_date => 'tomorrow'") == []


def test_bounds_as_drivers_and_gateways_send_them(log):
    both = "from_date => %s, to_date => %s"
    assert versions(log, both, [DAY, DAY]) == versions(log, both, [DAY.isoformat()] * 2) == [1, 2, 3]
    assert versions(log, both, [None, DAY]) == [0, 1, 2, 3]
    berlin = datetime.timezone(datetime.timedelta(hours=2))
    noon = datetime.datetime(2026, 3, 29, 12, tzinfo=berlin)
    assert versions(log, both, [noon, noon]) == versions(log, both, [noon.replace(tzinfo=None)] * 2) == [2]
    assert versions(log, both, [DAY, noon]) == [1, 2]
    # As a part of the statement, sent in binary, and in a prepared statement.
    with psycopg.ClientCursor(log) as cursor:
        cursor.execute("SELECT count(*) FROM immutable.find_events(to_date => %s)", [DAY])
        assert cursor.fetchone() == (4,)
    assert log.execute("SELECT count(*) FROM immutable.find_events(to_date => %b)", [DAY]).fetchone() == (4,)
    log.execute("PREPARE p AS SELECT count(*) FROM immutable.find_events(tenant_id => 't', from_date => $1, to_date => $2)")
    for arguments, expected in (("'2026-03-29', '2026-03-29'", 3), ("date '2026-03-29', now()", 4), ("NULL, timestamptz '2026-03-29'", 2)):
        assert log.execute(f"EXECUTE p({arguments})").fetchone() == (expected,)
    # As PostgREST calls a function by POST, and by GET.
    for body in ({"tenant_id": "t", "from_date": "2026-03-29", "to_date": "2026-03-29"}, {"from_date": "2026-03-29T00:00:00+01:00", "to_date": "2026-03-29"}):
        columns = ", ".join(f"{name} {'text' if name == 'tenant_id' else 'immutable.day_or_time'}" for name in body)
        arguments = ", ".join(f"{name} := args.{name}" for name in body)
        found = log.execute(f"SELECT f.* FROM (SELECT * FROM json_to_record(%s) AS _({columns})) args, "
                            f"LATERAL (SELECT count(*) FROM immutable.find_events({arguments})) f", [json.dumps(body)]).fetchone()
        assert found == (3,), body
    # Through functions of the user.
    log.execute("CREATE FUNCTION public.of_day(day date) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN "
                "SELECT count(*) INTO n FROM immutable.find_events(from_date => day, to_date => day); RETURN n; END $$")
    assert log.execute("SELECT public.of_day('2026-03-29'), public.of_day('2026-03-30')").fetchone() == (3, 1)


def test_an_invalid_time_is_refused_as_timestamptz_refuses_it(db):
    for given, error in (("yesterdays", psycopg.errors.InvalidDatetimeFormat), ("2026-13-29", psycopg.errors.DatetimeFieldOverflow),
                         ("", psycopg.errors.InvalidDatetimeFormat), ("2026-03-29 25:00", psycopg.errors.DatetimeFieldOverflow)):
        with pytest.raises(error):
            db.conn.execute("SELECT immutable.get_events(to_date => %s)", [given])
    # The last days that there are.
    for given in ("294276-12-31", "4714-11-24 BC"):
        try:
            db.conn.execute("SELECT immutable.get_events(to_date => %s)", [given])
        except psycopg.errors.DatetimeFieldOverflow:
            pass
    with pytest.raises(psycopg.errors.DatetimeFieldOverflow):
        db.conn.execute("SELECT immutable.get_events(to_date => date '5874897-12-31')")


def test_a_bound_prints_as_it_was_given_and_reads_back(db):
    db.conn.execute("SET TimeZone = 'Europe/Berlin'")
    for given, printed in (("2026-03-29", "2026-03-29"), ("2026-03-29 00:00", "2026-03-29 00:00:00+01"), ("infinity", "infinity"), ("29 Mar 2026", "2026-03-29")):
        assert db.conn.execute("SELECT %s::immutable.day_or_time::text, %s::immutable.day_or_time::text::immutable.day_or_time::text",
                               [given, given]).fetchone() == (printed, printed)


def test_a_cursor_keeps_its_day(log):
    asked = 'SELECT immutable.get_events(tenant_id => \'t\', to_date => %s, "limit" => 2, "cursor" => %s)'
    first = log.execute(asked, [DAY, None]).fetchone()[0]
    second = log.execute(asked, [DAY.isoformat(), first["pagination"]["next_cursor"]]).fetchone()[0]
    assert [event["version"] for event in first["data"] + second["data"]] == [3, 2, 1, 0]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="cursor belongs to"):
        log.execute(asked, [f"{DAY} 00:00", first["pagination"]["next_cursor"]])
