"""docs/reference.md is what the comments say, on every version, and the text is fit to be read."""

import re

from helpers_reference import ROOT, render

REFERENCE = (ROOT / "docs/reference.md").read_text()


def test_the_reference_is_what_the_comments_say(db):
    assert render(db.conn) == REFERENCE, "make reference writes docs/reference.md"


def test_events_and_grants_change_nothing_of_it(db):
    db.conn.execute("SELECT immutable.track('u', 'a')")
    db.conn.execute("SELECT immutable.grant_tenant(%s, 't')", [db.create_role()])
    assert render(db.conn) == REFERENCE


def test_every_function_and_column_is_in_it(db):
    for name, in db.conn.execute("SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'immutable'::regnamespace"):
        assert re.search(rf"(immutable\.|- `){name}\(", REFERENCE), name
    for name, in db.conn.execute("SELECT attname FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class "
                                 "WHERE relnamespace = 'immutable'::regnamespace AND relkind IN ('r', 'v')) AND attnum > 0"):
        assert f"| `{name}` |" in REFERENCE, name
    for name, in db.conn.execute("SELECT name FROM pg_settings WHERE name LIKE 'immutable.%'"):
        assert f"| `{name}` |" in REFERENCE, name


def test_the_arguments_that_a_comment_explains_are_the_functions(db):
    """A line "- name: …" is about an argument or a column of the result, by its name."""
    found = db.conn.execute("SELECT oid::regprocedure::text, proargnames, obj_description(oid, 'pg_proc') FROM pg_proc "
                            "WHERE pronamespace = 'immutable'::regnamespace").fetchall()
    for function, names, comment in found:
        for line in re.findall(r"^- ([a-z_, ]+):", comment, re.M):
            for name in line.split(", "):
                assert name in (names or []), f"{function} has no {name}"
