"""Witnesses: which are known, what they are sent, what of their answers is stored; and immutable-cosign, which carries the
text between a database and witnesses that speak HTTP."""

import http.server
import os
import subprocess
import threading
import time

import psycopg
import pytest

import helpers_tree_model as e
import helpers_log as h
from conftest import ROOT
from helpers_tree_model import LOG, STRANGER, W1, W2, Model, policy, tlog, value
from helpers_witness import OurWitness
from test_evidence_proof import INVALID, as_role
from test_readme import blocks

PROGRAM = ROOT / "scripts/immutable-cosign"


def own_events(conn, like="immutable.witness%%"):
    return conn.execute("SELECT action, resource_type, resource_id, metadata FROM immutable.events "
                        f"WHERE action LIKE '{like}' ORDER BY seq").fetchall()


def add(conn, *keys):
    for key in keys:
        value(conn, "add_witness", str(key.verifier))


@pytest.fixture
def log(db):
    h.build_log(db)
    model = Model(db.conn)
    for most in (1, 2, 9):
        model.append(most).store().sign()
    return model


# Which witnesses are known

def test_witnesses_are_added_and_removed(db):
    role = db.create_role("SUPERUSER")
    conn = db.connect(role)
    add(conn, W1, W2)
    rows = db.conn.execute("SELECT vkey, name, added_by FROM immutable.witnesses ORDER BY name").fetchall()
    assert rows == [(str(key.verifier), key.verifier.name, role) for key in (W1, W2)]
    with pytest.raises(psycopg.errors.DuplicateObject):
        add(conn, W1)
    value(conn, "remove_witness", str(W1.verifier))
    with pytest.raises(psycopg.errors.UndefinedObject):
        value(conn, "remove_witness", str(W1.verifier))
    add(conn, W1)
    assert own_events(db.conn) == [
        (f"immutable.witness_{what}", "witness", key.verifier.name, {"vkey": str(key.verifier)})
        for what, key in (("added", W1), ("added", W2), ("removed", W1), ("added", W1))]


def test_two_keys_of_one_name(db, log):
    new = tlog.SignerKey(W1.verifier.name, bytes(range(1, 33)), tlog.COSIGNATURE)
    add(db.conn, W1, new)
    assert value(db.conn, "add_cosignature", 16, log.cosigned(W1) + log.cosigned(new)) == 2
    value(db.conn, "remove_witness", str(W1.verifier))
    assert db.conn.execute("SELECT vkey FROM immutable.witnesses").fetchall() == [(str(new.verifier),)]
    # What it has signed stays.
    assert tlog.confirm(note(db.conn).encode(), policy(W1)).doubt is None


def test_an_addition_that_is_rolled_back(db):
    db.conn.execute("BEGIN")
    add(db.conn, W1)
    db.conn.execute("ROLLBACK")
    assert db.conn.execute("SELECT * FROM immutable.witnesses").fetchall() == [] == own_events(db.conn)


@pytest.mark.parametrize("vkey, why", [
    ("", "not a key of the form"), ("x", "not a key of the form"), (str(LOG.verifier), "its type is 0x01"),
    (str(W1.verifier)[:-1], "base64"), (str(W1.verifier) + "=", "base64"), (str(W1.verifier).replace("w1", "w2"), "the key id is not"),
    (str(W1.verifier).replace("/w1", " w1"), "a space"), (str(W1.verifier).upper(), ""), (" " + str(W1.verifier), "a space"),
    (str(W1.verifier) + "\n", "base64"), ("+".join(["n" * 300, *str(W1.verifier).split("+")[1:]]), "255 bytes"),
    (W1.skey(), ""), ("ä" * 9, "not a key of the form")])
def test_texts_that_are_no_key_of_a_witness(db, vkey, why):
    for function in ("add_witness", "remove_witness"):
        with pytest.raises(INVALID, match=f"vkey is not the verifier key of a witness: .*{why}"):
            value(db.conn, function, vkey)
        with pytest.raises(psycopg.errors.NullValueNotAllowed):
            value(db.conn, function, None)
    assert db.conn.execute("SELECT * FROM immutable.witnesses").fetchall() == [] == own_events(db.conn)


def test_the_table_is_written_by_the_functions_alone(db):
    add(db.conn, W1)
    for statement in ("INSERT INTO immutable.witnesses SELECT 'x', name, added_at, added_by FROM immutable.witnesses",
                      "UPDATE immutable.witnesses SET name = 'x'", "DELETE FROM immutable.witnesses", "TRUNCATE immutable.witnesses"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.conn.execute(statement)


# What witnesses are sent

def test_requests(db, log):
    for size in (4, 11, 16, None):
        for old in range((size or 16) + 1):
            request = tlog.read_request(value(db.conn, "witness_request", old, size).encode())
            assert request.old == old and request.note.decode() == log.note(size)
            assert request.hashes == log.tree.consistency(old, size or 16)
    assert value(db.conn, "witness_request") == value(db.conn, "witness_request", 0, 16)
    # What others signed does not go to a witness.
    log.cosign()
    assert tlog.read_request(value(db.conn, "witness_request").encode()).note.decode() == log.note()


def test_requests_that_cannot_be_made(db, log):
    for arguments, message in (([17], "old_size must be from 0 to the size of the checkpoint, 16"), ([-1], "old_size must"),
                               ([12, 11], "the checkpoint, 11"), ([0, 5], "no checkpoint of size 5 is kept"),
                               ([0, -5], "no checkpoint of size -5"), ([2 ** 63 - 1], "old_size must")):
        with pytest.raises(INVALID, match=message):
            value(db.conn, "witness_request", *arguments)
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        value(db.conn, "witness_request", None)


# What they answer

def note(conn, size=16):
    return conn.execute("SELECT note FROM immutable.checkpoints WHERE size = %s", [size]).fetchone()[0]


def stored(conn):
    return conn.execute("SELECT size, witness, extract(epoch FROM cosigned_at)::bigint, line FROM immutable.tree_cosignatures "
                        "ORDER BY size, witness").fetchall()


@pytest.fixture
def notices(db):
    messages = []
    db.conn.add_notice_handler(lambda notice: messages.append(notice.message_primary))
    return messages


def test_cosignatures_are_stored(db, log, notices):
    add(db.conn, W1, W2)
    line = log.cosigned(W1, at=1_800_000_000)
    assert value(db.conn, "add_cosignature", 16, line) == 1
    assert stored(db.conn) == [(16, W1.verifier.name, 1_800_000_000, line)]
    # The newest of a key is kept, whatever comes first.
    assert value(db.conn, "add_cosignature", 16, log.cosigned(W1, at=1_700_000_000)) == 0
    assert value(db.conn, "add_cosignature", 16, line) == 0
    newer = log.cosigned(W1, at=1_900_000_000)
    assert value(db.conn, "add_cosignature", 16, log.cosigned(W1, at=1_850_000_000) + newer + log.cosigned(W2, at=5)) == 3
    assert stored(db.conn) == [(16, W1.verifier.name, 1_900_000_000, newer), (16, W2.verifier.name, 5, log.cosigned(W2, at=5))]
    # Another size is another matter, and the last line feed may be missing.
    assert value(db.conn, "add_cosignature", 11, log.cosigned(W1, 11, at=1)[:-1]) == 1
    assert [row[:3] for row in stored(db.conn)] == [
        (11, W1.verifier.name, 1), (16, W1.verifier.name, 1_900_000_000), (16, W2.verifier.name, 5)]
    assert {name for name, _ in tlog.confirm(note(db.conn).encode(), policy(W1, W2)).cosigned} == {"w0", "w1"}
    assert notices == []


def test_lines_of_others_are_ignored(db, log, notices):
    add(db.conn, W1)
    assert value(db.conn, "add_cosignature", 16, log.cosigned(STRANGER)) == 0
    assert value(db.conn, "add_cosignature", 16, log.cosigned(STRANGER) + log.cosigned(W1) + LOG.sign(log.checkpoint().text())) == 1
    assert [row[1] for row in stored(db.conn)] == [W1.verifier.name]
    assert notices == [f"the line of \"{name}\" is ignored: no known witness has its name and key id"
                       for name in (STRANGER.verifier.name, STRANGER.verifier.name, e.ORIGIN)]


def test_lines_that_do_not_hold(db, log):
    """One such line, and nothing is stored."""
    add(db.conn, W1, W2)
    good, other_size = log.cosigned(W1), log.cosigned(W2, 11)
    as_log = tlog.SignerKey(W2.verifier.name, W2.seed)  # a plain signature of the text, under the witness's key id
    blob = W2.verifier.id + tlog.decode(as_log.sign(log.checkpoint().text()).split(" ")[2][:-1], "")[4:]
    bad = [other_size, log.cosigned(W2, at=9)[:-8] + "AAAA===\n", log.cosigned(W2, at=0), log.cosigned(W2, at=2 ** 63),
           log.cosigned(W2, at=2 ** 63 - 1), f"— {W2.verifier.name} {tlog.encode(blob)}\n",
           f"— {W2.verifier.name} {tlog.encode(W2.verifier.id + bytes(72))}\n",
           f"— {W2.verifier.name} {tlog.encode(W2.verifier.id + bytes(3000))}\n"]
    for line in bad:
        for lines in (line, good + line, line + good):
            with pytest.raises(INVALID, match="lines cannot be stored"):
                value(db.conn, "add_cosignature", 16, lines)
    for malformed in ("", "\n", "\n" + good, good + "\n", "x", good.replace("— ", "-- "), good.replace("\n", "\r\n"), good * 101,
                      "— name\n", note(db.conn), "409\n"):
        with pytest.raises(INVALID, match="lines cannot be stored"):
            value(db.conn, "add_cosignature", 16, malformed)
    assert stored(db.conn) == []


def test_sizes_that_are_not_kept(db, log):
    add(db.conn, W1)
    for size in (5, 0, -1, 17, 2 ** 63 - 1):
        with pytest.raises(INVALID, match=f"no checkpoint of size {size} is kept"):
            value(db.conn, "add_cosignature", size, log.cosigned(W1))
    for arguments in ([None, "x"], [16, None]):
        with pytest.raises(psycopg.errors.NullValueNotAllowed):
            value(db.conn, "add_cosignature", *arguments)


def test_a_time_far_off_is_stored(db, log):
    """status() complains about it; the line is evidence nevertheless."""
    add(db.conn, W1, W2)
    assert value(db.conn, "add_cosignature", 16, log.cosigned(W1, at=1) + log.cosigned(W2, at=9_224_318_015_999)) == 2
    with pytest.raises(INVALID, match="has a time after the year 294276"):
        value(db.conn, "add_cosignature", 16, log.cosigned(W1, at=9_224_318_016_000))


def test_a_maintainer_alone(db, log):
    """It carries text, and reads nothing of the log but checkpoints."""
    add(db.conn, W1)
    maintainer = as_role(db, "immutable_maintainer")
    request = tlog.read_request(value(maintainer, "witness_request", 4).encode())
    assert request.hashes == log.tree.consistency(4, 16)
    assert value(maintainer, "add_cosignature", 16, log.cosigned()) == 1
    assert maintainer.execute("SELECT cosigned_by FROM immutable.checkpoints WHERE size = 16").fetchone() == ([W1.verifier.name],)
    for statement in ("SELECT 1 FROM immutable.events", f"SELECT immutable.add_witness('{W2.verifier}')",
                      f"SELECT immutable.remove_witness('{W1.verifier}')", "SELECT immutable.consistency_proof(1)",
                      "INSERT INTO immutable.tree_cosignatures SELECT * FROM immutable.tree_cosignatures",
                      "DELETE FROM immutable.witnesses"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            maintainer.execute(statement)


def test_a_checkpoint_stays_while_its_cosignature_is_stored(db):
    """checkpoint() drops notes that are an hour old and not cosigned, unless somebody is at it."""
    h.add_event(db.conn, "t", "1")
    size = checkpoint(db.conn)
    first = db.conn.execute("SELECT note FROM immutable.checkpoints").fetchone()[0]
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.tree_notes SET signed_at = now() - interval '2 hours'")
    add(db.conn, W1)
    line = W1.sign(first.split("\n\n")[0] + "\n", int(time.time()))
    with db.connect(autocommit=False) as other:
        assert value(other, "add_cosignature", size, line) == 1
        done = threading.Thread(target=checkpoint, args=[db.connect()])
        done.start()
        while not db.conn.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                                  "AND datname = current_database()").fetchone()[0]:
            time.sleep(0.01)
        other.commit()
        done.join()
    kept = db.conn.execute("SELECT size, cosigned_by FROM immutable.checkpoints ORDER BY size").fetchall()
    assert len(kept) == 2 and kept[0] == (size, [W1.verifier.name])


# immutable-cosign

def checkpoint(conn):
    """Makes one, and gives its size."""
    note, = conn.execute("CALL immutable.checkpoint()").fetchone()
    return int(note.split("\n")[1])


class Witness:
    """A witness that speaks C2SP tlog-witness, in as many lines as the protocol has rules. It listens while it is entered."""

    def __init__(self, key, vkey=None):
        self.key, self.vkey = key, vkey
        self.size, self.root = 0, tlog.EMPTY_ROOT
        self.statuses, self.scripted = [], []

    def answer(self, body):
        if self.scripted:
            return self.scripted.pop(0)
        request = tlog.read_request(body)
        signed = tlog.read_note(request.note)
        point = tlog.read_checkpoint(signed.text)
        try:
            tlog.open_note(signed, [self.vkey])
        except tlog.NotValid:
            return 403, ""
        if request.old > point.size:
            return 400, ""
        if request.old != self.size:
            return 409, f"{self.size}\n"
        try:
            tlog.check_consistency(request.old, point.size, request.hashes, self.root, point.root)
        except tlog.NotValid:
            return 422, ""
        self.size, self.root = point.size, point.root
        return 200, self.key.sign(signed.text, int(time.time()))

    def __enter__(self):
        witness = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, text = witness.answer(body) if self.path == "/w/add-checkpoint" else (404, "")
                witness.statuses.append(status)
                self.send_response(status)
                self.send_header("Content-Type", "text/x.tlog.size" if status == 409 else "text/plain")
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/w"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Cosign:
    """Runs the program with a maintainer's login."""

    def __init__(self, db):
        self.db, self.server, self.role = db, db.server, db.create_role("IN ROLE immutable_maintainer")

    def run(self, *arguments, connection=None, **env):
        server = self.server
        connection = connection or f"host={server.host} port={server.port} user={self.role} dbname={self.db.name}"
        path = f"{server.bin}:{os.environ['PATH']}"
        return subprocess.run([PROGRAM, "-d", connection, *arguments], text=True, env={**os.environ, "PATH": path, **env},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def well(self, *arguments, **env):
        done = self.run(*arguments, **env)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def refused(self, status, *arguments, **options):
        done = self.run(*arguments, **options)
        assert done.returncode == status, done
        return done.stderr


@pytest.fixture
def cosign(db):
    return Cosign(db)


@pytest.fixture
def live(db):
    """A log with a key of its own, and the key."""
    h.build_log(db)
    checkpoint(db.conn)
    add(db.conn, W1, W2)
    return tlog.read_vkey(value(db.conn, "verifier_key"))


def cosigned(conn):
    return conn.execute("SELECT size, cosigned_by FROM immutable.checkpoints WHERE cosigned_by <> '{}' ORDER BY size").fetchall()


def test_night_after_night(db, cosign, live):
    with Witness(W1, live) as witness:
        assert "1 of 1 witnesses have cosigned 19 events" in cosign.well(witness.url)
        h.add_event(db.conn, "acme", "later")
        # Old 0 is sent first, and the witness says which size it has.
        assert "have cosigned 20 events" in cosign.well(witness.url + "/")
        assert witness.statuses == [200, 409, 200]
        assert cosigned(db.conn) == [(19, [W1.verifier.name]), (20, [W1.verifier.name])]
        # Nothing is new: the witness says the same again, with a new time.
        assert "have cosigned 20 events" in cosign.well("--no-checkpoint", witness.url)
        assert witness.statuses[3:] == [409, 200]
    id_, = db.conn.execute("SELECT id FROM immutable.events WHERE actor_id = 'user-later'").fetchone()
    trusted = tlog.read_policy(f"log {live}\nwitness w {W1.verifier}\nquorum w\n".encode())
    assert e.evidence.check_receipt(value(db.conn, "receipt", id_, "acme").encode(), trusted)["verdict"] == e.evidence.VALID


def test_with_immutable_verify(db, cosign, tmp_path):
    """The programs that belong together: our witness, immutable-cosign, and the verifier of the receipt."""
    h.build_log(db)
    checkpoint(db.conn)
    vkey = value(db.conn, "verifier_key")
    witness = OurWitness(tmp_path, [vkey])
    try:
        value(db.conn, "add_witness", witness.vkey)
        for name in ("r1", "r2"):
            h.add_event(db.conn, "acme", name)
            assert "1 of 1 witnesses" in cosign.well(witness.url)
    finally:
        witness.stop()
    id_, = db.conn.execute("SELECT id FROM immutable.events WHERE actor_id = 'user-r2'").fetchone()
    (tmp_path / "policy").write_text(f"log {vkey}\nwitness w {witness.vkey}\nquorum w\n")
    for text, status in ((value(db.conn, "receipt", id_, "acme", ["actor_id"]), 0),
                         (value(db.conn, "receipt", id_, "acme").replace("user-r2", "user-r1"), 1)):
        (tmp_path / "event.receipt").write_text(text)
        done = subprocess.run([os.environ["IMMUTABLE_VERIFY"], "receipt", "--policy", tmp_path / "policy", tmp_path / "event.receipt"],
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == status, done


def test_two_witnesses_sign_the_same_checkpoint(db, cosign, live):
    with Witness(W1, live) as one, Witness(W2, live) as two:
        cosign.well(one.url)
        for _ in range(3):
            h.add_event(db.conn, "acme", str(time.time()))
            cosign.well(one.url, two.url)
    both = [W1.verifier.name, W2.verifier.name]
    assert [(size, sorted(names)) for size, names in cosigned(db.conn)] == [(19, both[:1]), (20, both), (21, both), (22, both)]
    assert (one.size, one.root) == (two.size, two.root)


def test_one_of_two_does_not_answer(db, cosign, live):
    with Witness(W1, live) as witness:
        down = "http://127.0.0.1:1/x"
        said = cosign.refused(2, down, witness.url)
        assert f"{down} does not answer" in said
        assert cosigned(db.conn) == [(19, [W1.verifier.name])]
        done = cosign.run("--least", "1", witness.url, down)
        assert done.returncode == 0 and "1 of 2 witnesses" in done.stdout and "does not answer" in done.stderr


@pytest.mark.parametrize("answers, says", [
    ([(403, "who are you")], "answers with status 403: who are you"), ([(404, "")], "status 404"), ([(500, "\x1b[31m")], "status 500"),
    ([(409, "x\n")], "409 without a size"), ([(409, "")], "409 without a size"), ([(409, "-1\n")], "409 without a size"),
    ([(409, "3\n"), (409, "4\n"), (409, "3\n"), (409, "4\n")], "another size each time"), ([(200, "")], "signed with no key of a known witness"),
    ([(200, "nonsense\n")], "signed with no key of a known witness"), ([(302, "")], "status 302")])
def test_answers_that_are_no_cosignature(db, cosign, live, answers, says):
    with Witness(W1, live) as witness:
        witness.scripted = answers
        said = cosign.refused(2, witness.url)
        assert says in said and "\x1b" not in said
    assert cosigned(db.conn) == []


def test_a_witness_that_is_not_known(db, cosign, live):
    with Witness(STRANGER, live) as witness:
        assert "immutable.add_witness() makes it known" in cosign.refused(2, witness.url)
    assert cosigned(db.conn) == []


@pytest.mark.parametrize("old_protocol", [False, True])
def test_a_witness_that_has_seen_another_log(db, cosign, live, old_protocol):
    """Ten events of another past, then as many as this log has, and more."""
    with Witness(W1, live) as witness:
        for size in (10, 19, 10_000):
            witness.size, witness.root = size, bytes(32)
            if old_protocol:
                witness.scripted = [(409, f"{size}\n"), (409, f"{size}\n")]
            said = cosign.refused(1, "--no-checkpoint", witness.url)
            assert "THIS LOG DOES NOT CONTINUE" in said and "immutable.report_checkpoint()" in said
            witness.scripted.clear()
        with Witness(W2, live) as other:
            assert cosign.run("--least", "1", witness.url, other.url).returncode == 1, "whatever others say"
    assert cosigned(db.conn)[-1][1] == [W2.verifier.name]


def test_another_run_was_quicker(db, cosign, live):
    """The witness has a newer checkpoint of this log than the one that is sent."""
    with Witness(W1, live) as witness:
        def first(body):
            witness.answer = type(witness).answer.__get__(witness)
            h.add_event(db.conn, "acme", "meanwhile")
            cosign.well(witness.url)
            return witness.answer(body)
        witness.answer = first
        done = cosign.run(witness.url)
        assert done.returncode == 0 and "has cosigned 20 events already" in done.stderr
    assert cosigned(db.conn) == [(20, [W1.verifier.name])]


def test_what_the_program_needs(db, cosign, live):
    with Witness(W1, live) as witness:
        nowhere = f"host={ROOT} port=1 user=x dbname=y"
        assert "no checkpoint was made" in cosign.refused(2, witness.url, connection=nowhere)
        nobody = db.create_role()
        login = f"host={db.server.host} port={db.server.port} user={nobody} dbname={db.name}"
        assert "permission denied" in cosign.refused(2, witness.url, connection=login)
        assert "psql is not in the PATH" in cosign.refused(2, witness.url, PATH="/nonexistent")
        assert witness.statuses == []
        for arguments, says in (([], "URL of a witness"), (["ftp://x"], "no URL"), (["--least", "2", witness.url], "from 1 to 1, not 2"),
                                (["--least", "0", witness.url], "from 1"), (["--least", "x", witness.url], "from 1"),
                                (["--nonsense", witness.url], "there is no option")):
            assert says in cosign.refused(2, *arguments)
    done = subprocess.run([PROGRAM, "--help"], text=True, stdout=subprocess.PIPE)
    assert done.returncode == 0 and "Exit status" in done.stdout


def test_before_the_first_event(db, cosign):
    with Witness(W1) as witness:
        assert "no checkpoint was made" in cosign.refused(2, witness.url)
        assert "there is no signed checkpoint" in cosign.refused(2, "--no-checkpoint", witness.url)


def test_the_script_in_the_guide(db, live):
    """docs/evidence.md shows how it is done by hand; two nights of it."""
    script, = blocks("docs/evidence.md", "sh")
    server, role = db.server, db.create_role("IN ROLE immutable_maintainer")
    env = {**os.environ, "PATH": f"{server.bin}:{os.environ['PATH']}", "PGHOST": server.host, "PGPORT": server.port,
           "PGUSER": role, "PGDATABASE": db.name}
    with Witness(W1, live) as witness:
        for size, printed in ((19, "1\n"), (20, "1\n")):
            done = subprocess.run(["sh"], input=script.text, env={**env, "WITNESS": witness.url}, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
            assert cosigned(db.conn)[-1] == (size, [W1.verifier.name])
            h.add_event(db.conn, "acme", str(size))
        witness.scripted = [(503, "")]
        done = subprocess.run(["sh"], input=script.text, env={**env, "WITNESS": witness.url}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (2, "the witness answered 503\n")


def test_nothing_is_left_behind(db, cosign, live, tmp_path):
    with Witness(W1, live) as witness:
        cosign.well(witness.url, TMPDIR=str(tmp_path))
        witness.scripted = [(500, "")]
        cosign.refused(2, witness.url, TMPDIR=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_functions_of_other_users_do_not_matter(db, cosign, live):
    db.conn.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    db.connect(db.create_role()).execute("""
        CREATE FUNCTION public.rtrim(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'forged' $$;
        CREATE FUNCTION public.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS $$ SELECT 'forged' $$""")
    with Witness(W1, live) as witness:
        cosign.well(witness.url, PGOPTIONS="-c search_path=public,pg_catalog -c bytea_output=escape", PGCLIENTENCODING="LATIN1")
    assert cosigned(db.conn) == [(19, [W1.verifier.name])]
