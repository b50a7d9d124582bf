"""immutable-nightly: verifies, compares with the heads of the night before, writes new ones; its exit status is what cron
and systemd act on. It never ends with 0 unless all of the log was looked at and is what it was."""

import json
import os
import re
import stat
import subprocess

import pytest

import helpers_log as h
from conftest import ROOT
from helpers_log import build_log, delete, update

PROGRAM = ROOT / "scripts/immutable-nightly"


class Nightly:
    """Runs the program as an auditor's machine would, with a file of heads of its own."""

    def __init__(self, db, directory):
        self.role = db.create_role("IN ROLE immutable_auditor")
        self.db, self.server, self.heads = db, db.server, directory / "heads of the log.json"
        directory.mkdir()

    def run(self, *arguments, connection=None, file=None, **env):
        server = self.server
        connection = connection or f"host={server.host} port={server.port} user={self.role} dbname={self.db.name}"
        path = f"{server.bin}:{os.environ['PATH']}"
        done = subprocess.run([PROGRAM, *arguments, "-d", connection, file or self.heads], text=True,
                              env={**os.environ, "PATH": path, **env}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        left = {path.name for path in self.heads.parent.iterdir()} - {self.heads.name}
        assert left == set(), "an unfinished file is left"
        return done

    def well(self, *arguments, **options):
        done = self.run(*arguments, **options)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def refused(self, status, *arguments, **options):
        """It ends with that status, and leaves the heads as they were."""
        before = self.heads.read_bytes() if self.heads.exists() else None
        done = self.run(*arguments, **options)
        assert done.returncode == status, done
        assert (self.heads.read_bytes() if self.heads.exists() else None) == before
        return done.stdout if status == 1 else done.stderr

    def saved(self):
        return json.loads(self.heads.read_text())


@pytest.fixture
def nightly(db, tmp_path):
    return Nightly(db, tmp_path / "a directory")


def test_night_after_night(db, nightly):
    build_log(db)
    said = nightly.well("--first")
    assert re.fullmatch(r"\S+Z consistent, not anchored: 16 of 16 events in 4 lanes, 0 saved heads, 0 breaks, log [0-9a-f-]{36}\n", said)
    assert nightly.saved() == h.heads(db.conn)
    assert stat.S_IMODE(nightly.heads.stat().st_mode) == 0o600
    assert "4 saved heads, 0 breaks" in nightly.well()
    h.add_event(db.conn, "acme", "later")
    h.add_event(db.conn, "initech", "new")
    assert "valid: 18 of 18 events in 5 lanes, 4 saved heads" in nightly.well()
    assert nightly.saved() == h.heads(db.conn)


def test_quick(db, nightly):
    """Only new events are read; the answer says how many. A full run covers those before."""
    build_log(db)
    nightly.well("--first")
    h.add_event(db.conn, "globex", "later")
    assert "what is new is valid: 5 of 17 events in 4 lanes, 4 saved heads" in nightly.well("--quick")
    update(db.conn, ("acme", 0, 2), action="nothing.happened")
    assert "what is new is valid" in nightly.well("--quick")
    assert "hash_mismatch" in nightly.refused(1)


def test_first_night_of_an_empty_log(db, nightly):
    assert "valid: 0 of 0 events in 0 lanes, 0 saved heads, 0 breaks, log not begun" in nightly.well("--first")
    assert nightly.saved() == []
    assert "0 of 0 events" in nightly.well()
    assert "0 of 0 events" in nightly.well("--quick")
    build_log(db)
    done = nightly.run()
    assert done.returncode == 3 and "consistent, not anchored: 16 of 16 events in 4 lanes, 0 saved heads" in done.stdout
    assert len(nightly.saved()) == 4
    assert "valid: 16 of 16 events in 4 lanes, 4 saved heads" in nightly.well()


@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_heads_that_somebody_emptied(db, nightly, quick):
    """They hold nothing to compare with, which is told apart from a night on which all is well."""
    build_log(db)
    nightly.well("--first")
    h.delete(db.conn, ("acme", 0, 6))
    nightly.heads.write_text("[]")
    done = nightly.run(*quick)
    assert done.returncode == 3 and "consistent, not anchored" in done.stdout


@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_cut_tail(db, nightly, quick):
    build_log(db)
    nightly.well("--first")
    delete(db.conn, ("globex", 0, 4))
    assert h.verify_chain(db.conn)["valid"] is True
    said = nightly.refused(1, *quick)
    assert said.split("\n")[0].endswith("1 breaks, log " + str(h.verify_chain(db.conn)["log_id"]))
    assert "NOT VALID" in said and "the event of a saved head is gone" in said and '"tenant_id": "globex"' in said


def test_rewritten_lane(db, nightly):
    """Every hash is recomputed from the changed event on: consistent in itself, but not what was saved."""
    log = build_log(db)
    nightly.well("--first")
    now = h.forge(log["globex", 0, 4], action="nothing.happened")
    update(db.conn, ("globex", 0, 4), action="nothing.happened", event_hash=h.bytea(h.plain(now["event_hash"])))
    assert h.verify_chain(db.conn)["valid"] is True
    assert "another event is in the place of a saved head" in nightly.refused(1)


def test_tampered(db, nightly):
    build_log(db)
    nightly.well("--first")
    update(db.conn, ("acme", 1, 2), action="nothing.happened")
    said = nightly.refused(1)
    assert "NOT VALID: 16 of 16 events" in said and '"type": "hash_mismatch"' in said
    # A first run finds it too, and saves nothing.
    nightly.heads.unlink()
    assert "hash_mismatch" in nightly.refused(1, "--first")
    assert not nightly.heads.exists()


@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_all_events_are_gone(db, nightly, quick):
    build_log(db)
    nightly.well("--first")
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.event_targets")
        db.conn.execute("DELETE FROM immutable.events")
    assert "4 breaks" in nightly.refused(1, *quick)
    nightly.heads.unlink()
    assert "no events" in nightly.refused(2, "--first")


def test_missing_heads_do_not_pass_for_a_first_night(db, nightly):
    build_log(db)
    assert "--first" in nightly.refused(2)
    nightly.well("--first")
    assert "is there already" in nightly.refused(2, "--first")
    nightly.heads.unlink()
    assert "who removed" in nightly.refused(2)
    assert "--first has none" in nightly.refused(2, "--first", "--quick")


@pytest.mark.parametrize("content, says", [("", "is empty"), ("\n", "psql ended"), ("[", "psql ended"), ("{}", "heads must be"),
                                           ("null", "psql ended|heads must be"), ('[{"tenant_id": "acme"}]', "heads must be")])
@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_damaged_heads(db, nightly, content, says, quick):
    build_log(db)
    nightly.heads.write_text(content)
    assert re.search(says.replace("heads must", "(heads|since) must"), nightly.refused(2, *quick))


def test_heads_that_are_not_a_file(db, nightly):
    nightly.heads.mkdir()
    done = nightly.run()
    assert done.returncode == 2 and "no file that can be read" in done.stderr


def test_server_is_down(db, nightly):
    build_log(db)
    nightly.well("--first")
    nowhere = f"host={nightly.heads.parent} port=1 user=x dbname=y"
    assert "could not be verified: psql ended with 2" in nightly.refused(2, connection=nowhere)


def test_without_the_privilege(db, nightly):
    build_log(db)
    nightly.well("--first")
    nobody = db.create_role("IN ROLE pg_read_all_data")
    said = nightly.refused(2, connection=f"host={db.server.host} port={db.server.port} user={nobody} dbname={db.name}")
    assert "permission denied" in said


def test_without_psql(db, nightly):
    assert "psql is not in the PATH" in nightly.refused(2, "--first", PATH="/nonexistent")


def test_interrupted_midway(db, nightly):
    build_log(db)
    nightly.well("--first")
    assert "statement timeout" in nightly.refused(2, PGOPTIONS="-c statement_timeout=1ms")


def test_where_nothing_can_be_written(db, nightly):
    """As on a standby: no temporary table either."""
    build_log(db)
    nightly.well("--first", PGOPTIONS="-c default_transaction_read_only=on")
    assert "4 saved heads" in nightly.well(PGOPTIONS="-c default_transaction_read_only=on")


def test_settings_of_the_session_do_not_matter(db, nightly):
    build_log(db)
    options = "-c bytea_output=escape -c DateStyle=German,DMY -c standard_conforming_strings=off -c client_min_messages=debug1"
    nightly.run("--first", PGOPTIONS=options)
    assert nightly.saved() == h.heads(db.conn)
    assert nightly.run(PGOPTIONS=options, PGCLIENTENCODING="LATIN1").returncode == 0
    assert nightly.run("--quick", PGOPTIONS=options, PGCLIENTENCODING="LATIN1").returncode == 0


@pytest.mark.parametrize("first", [False, True])
def test_another_run_ends_first(db, nightly, tmp_path, first):
    """An hourly run beside a long one: its heads are newer, and going back to older ones would let a tail be cut."""
    build_log(db)
    if not first:
        nightly.well("--first")
    # psql as it is, and then the other run.
    (tmp_path / "psql").write_text(f"#!/bin/sh\n{nightly.server.bin}/psql \"$@\" || exit\nprintf %s '[1]' >\"$OTHER\"\n")
    (tmp_path / "psql").chmod(0o755)
    said = nightly.well(*["--first"] * first, PATH=f"{tmp_path}:{os.environ['PATH']}", OTHER=str(nightly.heads))
    assert ("consistent, not anchored" if first else "valid") + " (another run has replaced" in said
    assert nightly.saved() == [1]


def test_functions_of_other_users_do_not_matter(db, nightly):
    """A role that may only create functions could make one that fits better than PostgreSQL's own, and save heads that
    hide a cut tail, with the auditor's rights."""
    build_log(db)
    heads = h.heads(db.conn)
    # After a restore, or an upgrade from a version before 15, everybody may create in the schema public.
    db.conn.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    db.connect(db.create_role()).execute("""
        CREATE FUNCTION public.nothing(jsonb, record) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN '[]'; END $$;
        CREATE AGGREGATE public.jsonb_agg(record) (SFUNC = public.nothing, STYPE = jsonb);
        CREATE FUNCTION public.format(text, bigint, bigint, bigint, bigint, bigint, text) RETURNS text
            LANGUAGE sql AS $$ SELECT 'forged' $$""")
    assert "forged" not in nightly.well("--first")
    assert nightly.saved() == heads
    assert h.heads(db.conn) == []  # what whoever does not take care gets


def test_tenants_in_every_encoding(db, nightly):
    h.add_event(db.conn, "Köln ☃ \\ ' \" :heads", "x")
    nightly.well("--first")
    assert "1 saved heads" in nightly.well(PGCLIENTENCODING="LATIN1")
    assert "1 saved heads" in nightly.well("--quick", LC_ALL="C")


@pytest.mark.parametrize("arguments", [["--frist"], ["-x"]])
def test_wrong_usage(db, nightly, arguments):
    assert "there is no option" in nightly.refused(2, *arguments)


def test_more_files_than_one(db, nightly):
    assert "one file of heads" in nightly.refused(2, "a", "b")


def test_help(nightly):
    done = subprocess.run([PROGRAM, "--help"], text=True, stdout=subprocess.PIPE)
    assert done.returncode == 0 and "Exit status" in done.stdout


def test_many_thousand_lanes(db, nightly):
    """The heads are megabytes, more than a command line takes."""
    db.conn.execute("SET immutable.max_chains_per_transaction = 100000")
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                    "SELECT 'tenant ''\\\" ' || n, 'a', 'b' FROM generate_series(1, 3000) n")
    nightly.well("--first")
    assert nightly.heads.stat().st_size > 300_000
    assert "3000 of 3000 events in 3000 lanes, 3000 saved heads" in nightly.well()
    assert "3000 of 3000 events in 3000 lanes, 3000 saved heads" in nightly.well("--quick")


def test_saved_heads_work_with_the_other_tools(db, nightly, tmp_path):
    build_log(db)
    nightly.well("--first")
    assert h.verify_chain(db.conn, heads=nightly.saved())["heads_checked"] == 4
    export = tmp_path / "audit.ndjson"
    with export.open("wb") as file, db.conn.cursor().copy(
            "COPY (SELECT immutable.export_events()) TO STDOUT "
            "WITH (FORMAT csv, QUOTE e'\\x01', DELIMITER e'\\x02', ENCODING 'UTF8')") as copy:
        for block in copy:
            file.write(block)
    done = subprocess.run([os.environ["IMMUTABLE_VERIFY"], "--heads", nightly.heads, export], text=True,
                          stdout=subprocess.PIPE)
    assert done.returncode == 0 and "heads    4 checked" in done.stdout and "VALID" in done.stdout
