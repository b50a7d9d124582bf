"""Viewer tokens: ours in another library, theirs here, and every way a token can be wrong."""

import json
import threading
import time
import uuid

import jwt
import psycopg
import pytest
from helpers_access import (EVENTS, MINE, MINE_U1, OTHER, RIVAL, SECRET, TARGETS, Log, claims, count, headers, import_key,
                            present, refused, signed, token)


@pytest.fixture
def log(db):
    return Log(db)


def create(conn, *arguments):
    marks = ", ".join(["%s"] * len(arguments))
    return conn.execute(f"SELECT immutable.create_viewer_token({marks})", arguments).fetchone()[0]


def test_another_library_reads_our_tokens(log):
    made = create(log.admin, "mine", "u1", 120)
    assert made["token"] == made["viewer_token"]
    assert jwt.get_unverified_header(made["token"]) == {"alg": "HS256", "typ": "JWT"}
    read = jwt.decode(made["token"], SECRET, algorithms=["HS256"], issuer="immutable",
                      options={"require": ["exp", "iat", "jti", "iss"]})
    assert set(read) == {"role", "iss", "iat", "exp", "jti", "tenant_id", "actor_id"}
    assert (read["role"], read["tenant_id"], read["actor_id"]) == ("immutable_viewer", "mine", "u1")
    assert read["exp"] - read["iat"] == 120 and read["exp"] == made["expires_at"]
    assert abs(read["iat"] - time.time()) < 60 and uuid.UUID(read["jti"]).version == 7
    whole = jwt.decode(create(log.admin, None)["token"], SECRET, algorithms=["HS256"])
    assert whole["tenant_id"] == "" and "actor_id" not in whole and whole["exp"] - whole["iat"] == 3600
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(made["token"], OTHER, algorithms=["HS256"])


def test_tokens_of_another_library_open_what_they_name_and_nothing_else(log):
    viewer = log.viewer()
    for changes, events in (({}, MINE), ({"tenant_id": "rival"}, RIVAL), ({"actor_id": "u1"}, MINE_U1),
                            ({"tenant_id": "nobody"}, 0), ({"actor_id": "nobody"}, 0),
                            ({"nbf": int(time.time()) - 5}, MINE), ({"aud": "api", "sub": "x", "x": {"y": [1]}}, MINE)):
        present(viewer, token(**changes))
        assert (count(viewer), count(viewer, TARGETS)) == (events, events)
    # The events without a tenant count as those of a tenant; the log's own events are among them.
    present(viewer, token(tenant_id=""))
    assert viewer.execute("SELECT tenant_id, action FROM immutable.events").fetchall() == [("", "immutable.viewer_key_imported")]
    present(viewer, token(headers={"kid": "k1"}))
    assert count(viewer) == MINE
    # Their clock may be ahead by a minute.
    present(viewer, token(iat=int(time.time()) + 50))
    assert count(viewer) == MINE


NOW = int(time.time())
HS256 = '{"alg":"HS256","typ":"JWT"}'
BAD = {
    "no token": "x",
    "empty parts": "..",
    "wrong key": token(OTHER),
    "alg none": jwt.encode(claims(), None, algorithm="none"),
    "alg none with our signature": signed('{"alg":"none"}', json.dumps(claims())),
    "HS384": token(algorithm="HS384"),
    "HS512": token(algorithm="HS512"),
    "says RS256": signed('{"alg":"RS256"}', json.dumps(claims())),
    "says HS256 twice": signed('{"alg":"HS256","alg":"HS256"}', json.dumps(claims())),
    "crit": token(headers={"crit": ["exp"]}),
    "another type": token(headers={"typ": "at+jwt"}),
    "expired": token(iat=NOW - 100, exp=NOW - 1),
    "not yet issued": token(iat=NOW + 36_000, exp=NOW + 36_060),
    "not yet valid": token(nbf=NOW + 36_000, exp=NOW + 36_060),
    "for more than a day": token(iat=NOW, exp=NOW + 86_401),
    "for ever": token(exp=...),
    "issued at no time": token(iat=...),
    "issued in a fraction": token(iat=NOW + 0.5),
    "ends in a fraction": token(exp=NOW + 600.5),
    "ends in a text": signed(HS256, json.dumps(claims(exp=str(NOW + 600)))),
    "ends before it begins": token(iat=NOW + 30, exp=NOW + 20),
    "without jti": token(jti=...),
    "empty jti": token(jti=""),
    "without issuer": token(iss=...),
    "another issuer": token(iss="supabase"),
    "several issuers": signed(HS256, json.dumps(claims(iss=["immutable"]))),
    "without role": token(role=...),
    "another role": token(role="authenticated"),
    "an auditor": token(role="immutable_auditor"),
    "without tenant": token(tenant_id=...),
    "tenant null": token(tenant_id=None),
    "tenant a number": token(tenant_id=1),
    "several tenants": token(tenant_id=["mine", "rival"]),
    "tenant with a NUL": token(tenant_id="mine\0"),
    "actor null": token(actor_id=None),
    "actor empty": token(actor_id=""),
    "several actors": token(actor_id=["u1", "u2"]),
    "tenant twice": signed(HS256, json.dumps(claims())[:-1] + ', "tenant_id": "rival"}'),
    "tenant twice, escaped": signed(HS256, json.dumps(claims())[:-1] + ', "tenant\\u005fid": "rival"}'),
    "payload an array": signed(HS256, json.dumps([claims()])),
    "payload no JSON": signed(HS256, json.dumps(claims()) + "x"),
    "truncated": token()[:-2],
    "extended": token() + "AA",
    "with padding": token() + "=",
    "with a blank": token() + " ",
    "as a header": "Bearer " + token(),
    "twice": token() + "." + token(),
    "claims exchanged": "{0}.{4}.{2}".format(*(token() + "." + token(tenant_id="rival")).split(".")),
    "oversized": token(padding="x" * 8000),
    "a megabyte": "x" * 1_000_000,
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_an_error_and_shows_no_row(log, name):
    viewer = log.viewer()
    present(viewer, BAD[name])
    for statement in (EVENTS, TARGETS, "SELECT immutable.get_events()", "SELECT * FROM immutable.find_events()",
                      f"SELECT immutable.get_event('{log.rival_id}')", "SELECT immutable.visible_tenant()",
                      "SELECT FROM immutable.events WHERE tenant_id = 'mine'"):
        error = refused(viewer, statement)
        assert error.diag.message_hint
        # The error contains nothing of the token, so no server log does.
        assert all(len(part) < 12 or part not in str(error) for part in BAD[name].split("."))
    # A token that is valid in another log does not help.
    viewer.execute("SELECT set_config('request.headers', %s, false)", (headers(token()),))
    refused(viewer)
    # The session still works afterwards.
    present(viewer, token())
    assert count(viewer) == MINE


@pytest.mark.parametrize("name", BAD)
def test_a_bad_bearer_token_shows_no_row_either(log, name):
    viewer = log.viewer()
    viewer.execute("SELECT set_config('request.headers', %s, false)", (headers(BAD[name]),))
    if name in ("with a blank",):  # around a header's token blanks mean nothing (RFC 9110)
        assert count(viewer) == MINE
    else:
        refused(viewer)


def test_without_a_token_no_row_is_shown(log):
    viewer = log.viewer()
    assert count(viewer) == 0 and count(viewer, TARGETS) == 0
    present(viewer, "")
    assert count(viewer) == 0
    with viewer.transaction():
        present(viewer, token(), local=True)
        assert count(viewer) == MINE
    assert viewer.execute("SELECT current_setting('immutable.viewer_token')").fetchone()[0] == ""
    assert count(viewer) == 0
    present(viewer, token())
    viewer.execute("DISCARD ALL")
    assert count(viewer) == 0


def until_refused(connection, exp):
    """Queries until the token is refused: not before the second of `exp`, and always after it."""
    while True:
        before = time.time()
        try:
            assert count(connection) == MINE
            assert before < exp
        except psycopg.Error as error:
            assert time.time() >= exp
            return error


def test_a_token_expires_while_it_is_in_use(log):
    viewer = log.viewer()
    exp = int(time.time()) + 2
    present(viewer, token(exp=exp))
    viewer.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert until_refused(viewer, exp).sqlstate == "28000"


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_revocation_takes_effect_at_the_next_statement(log, isolation):
    ways = {
        "by its jti": lambda given: log.admin.execute(
            "SELECT immutable.revoke_viewer_token(%s)", (jwt.decode(given, SECRET, algorithms=["HS256"])["jti"],)),
        "itself": lambda given: log.admin.execute("SELECT immutable.revoke_viewer_token(%s)", (given,)),
        "of the actor": lambda given: log.admin.execute("SELECT immutable.revoke_viewer_tokens('mine', 'u1')"),
        "of the tenant": lambda given: log.admin.execute("SELECT immutable.revoke_viewer_tokens('mine')"),
    }
    for revoke in ways.values():
        given = create(log.admin, "mine", "u1")["token"]
        viewer, bystander = log.viewer(given), log.viewer(token(tenant_id="rival", actor_id="u1"))
        viewer.execute(f"PREPARE page AS {EVENTS}")
        viewer.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        assert count(viewer, "EXECUTE page") == MINE_U1
        revoke(given)
        assert "revoked" in str(refused(viewer, "EXECUTE page"))
        viewer.execute("ROLLBACK")
        refused(viewer)
        refused(log.viewer(given))
        assert count(bystander) == 17
        # A new token after the revocation is not revoked.
        assert count(log.viewer(create(log.admin, "mine", "u1")["token"])) == MINE_U1
        viewer.close()
        bystander.close()


def test_revoking_an_actor_leaves_the_tenants_tokens(log):
    whole, other = token(), token(actor_id="u2")
    log.admin.execute("SELECT immutable.revoke_viewer_tokens('mine', 'u1')")
    assert count(log.viewer(whole)) == MINE and count(log.viewer(other)) == 10
    refused(log.viewer(token(actor_id="u1", iat=int(time.time()) - 5)))


def test_revocations_are_kept_until_their_tokens_have_expired(log):
    given = token(exp=int(time.time()) + 86_000)
    log.admin.execute("SELECT immutable.revoke_viewer_token(%s)", (given,))
    log.admin.execute("SELECT immutable.revoke_viewer_tokens('gone')")
    (kept,) = log.admin.execute("SELECT min(forget_at) > now() + interval '1 day 2 minutes' FROM immutable.revocations").fetchone()
    assert kept
    # The next revocation removes the expired ones, and nothing else.
    log.admin.execute("UPDATE immutable.revocations SET forget_at = now() - interval '1 second' WHERE tenant_id = 'gone'")
    log.admin.execute("SELECT immutable.revoke_viewer_tokens('new')")
    rows = log.admin.execute("SELECT tenant_id FROM immutable.revocations ORDER BY 1").fetchall()
    assert rows == [("new",), (None,)]
    refused(log.viewer(given))


def test_revoking_what_cannot_be_revoked_is_an_error(log):
    for given, state in ((token(OTHER), "22023"), ("", "22023"), ("x" * 256, "22023"), (None, "22004")):
        with pytest.raises(psycopg.Error) as error:
            log.admin.execute("SELECT immutable.revoke_viewer_token(%s)", (given,))
        assert error.value.sqlstate == state and error.value.diag.message_hint


def test_rotating_the_key(log):
    shared, viewer = token(), log.viewer(token())
    assert count(viewer) == MINE
    log.admin.execute("SELECT immutable.rotate_viewer_key()")
    own = create(log.admin, "mine")["token"]
    assert count(viewer) == MINE and count(log.viewer(own)) == MINE
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(own, SECRET, algorithms=["HS256"])
    # A day later the old key is no longer valid, even for a token verified before.
    log.admin.execute("UPDATE immutable.viewer_keys SET accept_until = now() WHERE accept_until IS NOT NULL")
    refused(viewer)
    assert count(log.viewer(own)) == MINE
    held = log.viewer(own)
    held.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert count(held) == MINE
    log.admin.execute("SELECT immutable.rotate_viewer_key(revoke_old => true)")
    refused(held)
    refused(log.viewer(own))
    refused(log.viewer(shared))
    assert count(log.viewer(create(log.admin, "mine")["token"])) == MINE
    assert log.admin.execute("SELECT count(*), min(length(secret)) FROM immutable.viewer_keys").fetchone() == (1, 32)


def test_an_imported_key_signs_and_the_one_before_is_accepted(db):
    log = Log(db)
    import_key(db.conn, OTHER)
    assert count(log.viewer(token())) == MINE and count(log.viewer(token(OTHER))) == MINE
    assert jwt.decode(create(db.conn, "mine")["token"], OTHER, algorithms=["HS256"])["tenant_id"] == "mine"


def test_two_first_tokens_share_one_key(db):
    role = db.create_role()
    db.conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {role}")
    db.conn.execute(f"GRANT EXECUTE ON FUNCTION immutable.create_viewer_token TO {role}")
    first, second = db.connect(role, autocommit=False), db.connect(role)
    create(first, "a")
    # The second has to wait for the first, and then to find its key.
    made = []
    thread = threading.Thread(target=lambda: made.append(create(second, "b")))
    thread.start()
    while not db.conn.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)").fetchone()[0]:
        time.sleep(0.01)
    first.commit()
    thread.join()
    assert made and db.conn.execute("SELECT count(*) FROM immutable.viewer_keys").fetchone() == (1,)


def test_verifying_writes_nothing(log):
    """So it works on a standby as well."""
    viewer = log.viewer(token())
    viewer.execute("BEGIN READ ONLY")
    assert count(viewer) == MINE
    assert viewer.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == (None,)


@pytest.mark.parametrize("arguments, field", [
    (("mine", None, 59), "ttl"), (("mine", None, 86_401), "ttl"), (("mine", None, -1), "ttl"), (("mine", ""), "actor_id"),
    (("t" * 256,), "tenant_id"), (("mine", "a" * 513), "actor_id")])
def test_arguments_that_create_no_token(log, arguments, field):
    with pytest.raises(psycopg.errors.InvalidParameterValue) as error:
        create(log.admin, *arguments)
    assert field in str(error.value) and error.value.diag.message_hint


def test_the_longest_ids_fit_in_a_token(log):
    assert len(create(log.admin, "\x01" * 255, "\x01" * 512)["token"]) < 8192
    assert create(log.admin, "mine", "u", 60) and create(log.admin, "mine", "u", 86_400)
    assert create(log.admin, "mine", None, None)["expires_at"] > time.time() + 3000


def test_decisions_about_access_are_recorded_with_their_author(log):
    """Under the name of the role that decided. It needs EXECUTE alone, not even the right to insert."""
    officer, bi = log.db.create_role(), log.db.create_role()
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'mine', 'write')", (officer,))
    log.admin.execute(f"GRANT EXECUTE ON FUNCTION immutable.create_viewer_token, immutable.rotate_viewer_key, "
                      f"immutable.revoke_viewer_token, immutable.revoke_viewer_tokens TO {officer}")
    recorded = ("SELECT actor_id, actor_type, recorded_by, action, resource_type, resource_id, metadata, ip_address, targets "
                "FROM immutable.events WHERE tenant_id = '' AND created_at > %s ORDER BY seq")
    since = log.admin.execute("SELECT clock_timestamp()").fetchone()[0]
    connection = log.db.connect(officer)
    connection.execute("SET immutable.ip_address = '203.0.113.7'; SET immutable.actor_id = 'somebody else'")
    connection.execute("SELECT immutable.rotate_viewer_key(), immutable.rotate_viewer_key(true)")
    made = create(connection, "mine", "u1")["token"]
    jti = jwt.decode(made, options={"verify_signature": False})["jti"]
    connection.execute("SELECT immutable.revoke_viewer_token(%s)", (made,))
    connection.execute("SELECT immutable.revoke_viewer_tokens('mine', 'u1'), immutable.revoke_viewer_tokens('rival')")
    for mode in ("read", "write"):
        log.admin.execute("SELECT immutable.grant_tenant(%s, 'rival', %s)", (bi, mode))
        log.admin.execute("SELECT immutable.revoke_tenant(%s, %s)", (bi, mode))
    rows = log.admin.execute(recorded, (since,)).fetchall()
    assert [row[:3] for row in rows] == [(officer, "role", officer)] * 5 + [("postgres", "role", "postgres")] * 4
    granted = [("role", bi, {"mode": mode, "tenant_id": "rival"}) for mode in ("read", "read", "write", "write")]
    assert [row[3:7] for row in rows] == [
        ("immutable.viewer_key_rotated", None, None, {"old_keys": "accepted"}),
        ("immutable.viewer_key_rotated", None, None, {"old_keys": "refused"}),
        ("immutable.viewer_token_revoked", "viewer_token", jti, {}),
        ("immutable.viewer_tokens_revoked", None, None, {"tenant_id": "mine", "tokens": "one actor's"}),
        ("immutable.viewer_tokens_revoked", None, None, {"tenant_id": "rival", "tokens": "all"}),
        *((f"immutable.tenant_{action}", *row) for action, row in zip(("granted", "revoked") * 2, granted))]
    assert {(row[7], str(row[8])) for row in rows} == {(None, "[]")}
    # The record and the decision are made together, or not at all.
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT immutable.revoke_viewer_tokens('mine')")
    assert len(log.admin.execute(recorded, (since,)).fetchall()) == len(rows)
    # No tenant sees it, and the chain is whole. Nobody else can write such events.
    assert count(log.viewer(create(log.admin, "rival")["token"])) == RIVAL
    assert log.admin.execute("SELECT valid FROM immutable.verify_chain()").fetchone() == (True,)
    for role in ("postgres", officer):
        refused(log.db.connect(role), "INSERT INTO immutable.events (tenant_id, actor_id, action) "
                                      "VALUES ('mine', 'x', 'immutable.tenant_granted')", "42501")
