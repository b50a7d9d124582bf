"""What a search finds is the same in every locale, with its index and without."""

import unicodedata

import psycopg
import pytest
from psycopg.types.json import Jsonb

# An actor's name, and what finds it.
NAMES = {
    "Sarah Chen": ["sarah", "SARAH CHEN", "h c"],
    "Zoë Müller": ["zoë", "ZOË MÜLLER", "müLLER", unicodedata.normalize("NFD", "ZOË"), unicodedata.normalize("NFD", "müller")],
    unicodedata.normalize("NFD", "Renée Noël"): ["renée", "NOËL", unicodedata.normalize("NFD", "Renée")],
    "İstanbul IĞDIR": ["istanbul", "İSTANBUL", "ISTANBUL", "ıstanbul", "iğdir", "ığdır", "i\u0307stanbul"],
    "Weißstraße": ["weissSTRASSE", "WEISSSTRASSE", "weißstraße", "straẞe"],
    "ΟΔΥΣΣΕΥΣ": ["οδυσσευς", "Οδυσσευσ", "σσε"],
    "Жукова": ["ЖУКОВА", "жук"],
    "ÅNGSTRÖM \u212bngström": ["ångström å", "\u212bNGSTRÖM"],
    "Größe ﬁnal": ["GRÖSSE FINAL"],
    "山田 한글": ["山田", "한글", unicodedata.normalize("NFD", "한글")],
    "50%_\\\"quoted\"": ["50%_", "\\", "\"QUOTED\"", "%_\\\""],
}
# Searches that find none of them: accented letters and lookalikes are different letters.
NOTHING = ["muller", "renee", "Zoe", "igdyr", "Гукова", "50%x", "sarah_chen"]


def has_icu(server):
    """pg_collation has a collation of ICU's in builds without it, too."""
    with server.connect() as admin:
        try:
            admin.execute("CREATE COLLATION pg_temp.test_icu (provider = icu, locale = 'en-US')")
        except psycopg.errors.FeatureNotSupported:
            return False
    return True


def locales(server):
    yield "C", "LOCALE 'C'"
    yield "C.UTF-8", "LOCALE 'C.UTF-8'"
    if has_icu(server):
        for name in ("en-US", "tr-TR", "und-u-ks-level1"):
            yield f"ICU {name}", f"LOCALE_PROVIDER icu ICU_LOCALE '{name}' LOCALE 'C.UTF-8'"


def found(conn, needle):
    rows = conn.execute("SELECT actor_name FROM immutable.find_events(search => %s, \"limit\" => 1000) ORDER BY seq", [needle]).fetchall()
    answer, = conn.execute("SELECT immutable.get_events(search => %s, \"limit\" => 100)", [needle]).fetchone()
    names = [row[0] for row in rows]
    assert sorted(event["actor"]["name"] for event in answer["data"]) == sorted(names), needle
    assert answer["pagination"]["total"] == len(names), needle
    return names


def test_a_search_finds_the_same_in_every_locale_with_and_without_its_index(server):
    answers = {}
    for number, (locale, clause) in enumerate(locales(server)):
        database = f"test_search_{number}"
        with server.connect() as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' {clause}")
        try:
            with server.connect(database) as conn:
                conn.execute("CREATE EXTENSION immutable")
                conn.execute("CREATE EXTENSION pg_trgm")
                for name in NAMES:
                    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action) VALUES ('t', 'u', %s, 'x')", [name])
                # Enough other events to make an index worthwhile, and each name in metadata too, where JSON escapes some of it.
                conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) "
                             "SELECT 't', 'u', 'y', jsonb_build_object('n', 'other ' || n) FROM generate_series(1, 300) n")
                for name in NAMES:
                    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action, metadata) VALUES ('t', 'u', 'in metadata', 'z', %s)",
                                 [Jsonb({"name": name})])
                conn.execute("VACUUM (ANALYZE) immutable.events")
                for index in (False, True):
                    if index:
                        conn.execute("SELECT immutable.enable_search()")
                    for name, needles in NAMES.items():
                        for needle in needles:
                            assert found(conn, needle) == [name, "in metadata"], (locale, index, needle)
                    for needle in NOTHING:
                        assert found(conn, needle) == [], (locale, index, needle)
                # The index itself finds them.
                conn.execute("SET enable_seqscan = off")
                plan = conn.execute(
                    "EXPLAIN SELECT FROM immutable.events e WHERE immutable.fold((coalesce(immutable.text_of(e.actor_name), '') || E'\\n' || "
                    "immutable.text_of(e.action) || E'\\n' || coalesce(immutable.text_of(e.resource_name), '') || E'\\n' || "
                    "immutable.text_of(e.metadata)) COLLATE \"C\") LIKE '%sarah%'").fetchall()
                assert "events_search" in str(plan)
                texts = [*NAMES, *(needle for needles in NAMES.values() for needle in needles), *NOTHING]
                answers[locale] = conn.execute("SELECT array_agg(immutable.fold(t) ORDER BY n) FROM unnest(%s::text[]) WITH ORDINALITY x(t, n)",
                                               [texts]).fetchone()[0]
                assert conn.execute("SELECT bool_and(immutable.fold(f) = f) FROM unnest(%s::text[]) f", [answers[locale]]).fetchone()[0]
        finally:
            with server.connect() as admin:
                admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
    assert len(answers) >= 2 and len({tuple(answer) for answer in answers.values()}) == 1


def test_writers_and_readers_may_call_fold(db):
    """The index's expression runs with the rights of whoever inserts, the filter with the reader's."""
    db.conn.execute("CREATE EXTENSION pg_trgm")
    db.conn.execute("SELECT immutable.enable_search()")
    writer = db.connect(db.create_role("IN ROLE immutable_writer"))
    writer.execute("INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action) VALUES ('t', 'u', 'STRASSE', 'x')")
    auditor = db.connect(db.create_role("IN ROLE immutable_auditor"))
    viewer = db.connect(db.create_role("IN ROLE immutable_viewer"))
    token, = db.conn.execute("SELECT immutable.create_viewer_token('t') ->> 'token'").fetchone()
    viewer.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
    for conn in (auditor, viewer):
        assert found(conn, "straße") == ["STRASSE"]


def test_a_comma_does_not_separate_actions(db):
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'a'), ('t', 'u', 'b'), ('t', 'u', 'a,b')")
    for function in ("get_events", "find_events", "export_events"):
        for action in ("a,b", "a, b", "a*,b"):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match="action must be one action") as refused:
                db.conn.execute(f"SELECT * FROM immutable.{function}(action => %s)", [action])
            assert refused.value.diag.message_hint
    # The hint says how to find that action.
    assert db.conn.execute("SELECT array_agg(action) FROM immutable.find_events(action => 'a*b')").fetchone()[0] == ["a,b"]
