"""Exports over HTTP: making, waiting, downloading with a key and with an address alone, and what opens none."""

import csv
import io
import json
import re
import socket
import subprocess
import time
import urllib.parse
import uuid

import helpers_http
import helpers_keys as keys

PATH = "/api/v1/exports"


def make(http, key, body=None):
    answer = http.post(PATH, key, body)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def shown(http, key, export):
    answer = http.get(f"{PATH}/{export}", key)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def opened(http, url, **query):
    """Follows a download_url without a key, as a browser does."""
    assert url.startswith(http.url), url
    return http.get(url.removeprefix(http.url), params={**dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)), **query})


def test_an_export_is_made_counted_and_downloaded(db, http):
    keys.Tenants(db)
    key = http.key(["export"])
    answer = http.post(PATH, key, {"action": "a.b", "tenant_id": "mine", "actor_id": "u1", "from": "2020-01-01", "to": None, "search": ""})
    assert answer.status_code == 202
    export = answer.json()["id"]
    assert answer.json()["data"] == {"id": export, "status": "pending"} and re.fullmatch(r"exp_[0-9a-f-]{36}", export)
    data = shown(http, key, export)
    assert (data["id"], data["status"], data["total_rows"], data["file_size"], data["error_message"]) == (export, "completed", 4, None, None)
    assert data["filters"] == {"action": "a.b", "tenant_id": "mine", "actor_id": "u1", "from": data["filters"]["from"]}
    assert "ticket" not in data and data["expires_at"] > data["created_at"] and data["download_url_expires_at"]
    assert data["download_url"].startswith(f"{http.url}{PATH}/{export}/download?signature=")

    with_key = http.get(f"{PATH}/{export}/download", key)
    assert with_key.status_code == 302 and with_key.headers["location"].startswith(f"{http.url}{PATH}/{export}/download?signature=")
    download = opened(http, with_key.headers["location"])
    assert download.status_code == 200 and download.headers["content-type"].startswith("text/csv")
    assert download.headers["content-disposition"] == f'attachment; filename="{export}.csv"' and download.headers["cache-control"] == "no-store"
    assert download.text.endswith("\r\n") and len(re.findall("(?<!\r)\n", download.text)) == 0
    rows = list(csv.DictReader(io.StringIO(download.text, newline="")))
    assert [(row["tenant_id"], row["actor_id"], row["action"]) for row in rows] == [("mine", "u1", "a.b")] * 4
    assert download.text.endswith("\n") and re.fullmatch("[0-9a-f]{64}", rows[0]["event_hash"])
    assert opened(http, data["download_url"]).text == download.text
    assert http.get(f"{PATH}/{export.removeprefix('exp_')}", key).status_code == 200


def test_every_format_and_the_lines_verify(db, http, tmp_path):
    key = http.key(["export"])
    db.conn.execute("SELECT immutable.track('u', 'a.b', actor_name => '=1+1', metadata => '{\"a\": \"line\\nbreak, \\\"é\\\"\"}')")
    export = make(http, key)
    url = shown(http, key, export)["download_url"]
    plain, sheet = opened(http, url), opened(http, url, format="csv_spreadsheet")
    row, = [row for row in csv.DictReader(io.StringIO(plain.text, newline="")) if row["action"] == "a.b"]
    assert row["actor_name"] == "=1+1" and json.loads(row["metadata"]) == {"a": 'line\nbreak, "é"'}
    assert "'=1+1" in sheet.text and "'=1+1" not in plain.text
    at = http.get(f"{PATH}/{export}/download?format=ndjson", key).headers["location"]
    lines = opened(http, at)
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    file = tmp_path / "export.ndjson"
    file.write_bytes(lines.content)
    verified = subprocess.run([helpers_http.ROOT / "target/release/immutable-verify", file], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    # 3: the file is consistent, and nothing from outside confirms it.
    assert verified.returncode == 3 and "\nbreaks   0\n" in verified.stdout, verified.stdout
    for path in (f"{PATH}/{export}/download?format=xlsx", f"{PATH}/{export}/download?format=csv&format=ndjson"):
        assert http.get(path, key).status_code == 422
    assert opened(http, url, format="xlsx").status_code == 422


def test_without_filters_it_has_all_that_the_key_opens(db, http):
    keys.Tenants(db)
    for tenant, tenants in ((None, {"mine", "rival", ""}), ("mine", {"mine"})):
        key = http.key(["export"], tenant)
        for content in ["", "{}", "[]", " \n", '{"actor_id": null}', '{"actor_id": ""}']:
            answer = http.post(PATH, key, content=content)
            assert answer.status_code == 202, (content, answer.text)
            text = opened(http, shown(http, key, answer.json()["id"])["download_url"]).text
            assert {row["tenant_id"] for row in csv.DictReader(io.StringIO(text, newline=""))} == tenants, content


def test_a_filter_that_is_misspelt_never_exports_everything(db, http):
    key = http.key(["export"])
    for body in [{"filters": {"action": "a.b"}}, {"tenantId": "a"}, {"after": "2026-01-01"}, {"format": "csv"}, {"tenant_id": ""}, {"tenant_id": ["a"]},
                 {"actor_id": True}, {"action": {}}, {"action": "a,b"}, {"from": "someday"}, {"to": "2026-02-30"}, {"actor_id": "a\0"}, {"search": "x" * 5000}, [1], "x"]:
        answer = http.post(PATH, key, body)
        assert answer.status_code == 422, (body, answer.text)
        if isinstance(body, dict):
            assert list(answer.json()["errors"]) == list(body), answer.text
    assert http.post(PATH, key, content="{").status_code == 400
    assert http.post(PATH, key, content='{"action": "a.b", "action": "*"}').status_code == 422
    assert db.conn.execute("SELECT count(*) FROM immutable.exports").fetchone() == (0,)


def test_a_sixth_at_once_is_too_many(db, http):
    key = http.key(["export"])
    made = [make(http, key) for _ in range(5)]
    answer = http.post(PATH, key)
    assert answer.status_code == 429 and answer.json()["error"] == "too_many_exports" and int(answer.headers["retry-after"]) > 0
    shown(http, key, made[0])
    assert http.post(PATH, key).status_code == 202


def test_who_may_not_see_an_export_finds_none(db, http):
    keys.Tenants(db)
    mine, rival, everyone = http.key(["export"], "mine"), http.key(["export"], "rival"), http.key(["export"])
    export, whole = make(http, mine), make(http, everyone)
    for path in ("", "/download"):
        for key in (rival, mine):
            assert http.get(f"{PATH}/{whole}{path}", key).status_code == 404
        assert http.get(f"{PATH}/{export}{path}", rival).status_code == 404
        for other in (f"exp_{uuid.uuid4()}", "exp_", "x", "exp_x", f"exp_exp_{uuid.uuid4()}", "%00", "%ff", "..%2F..%2Fetc"):
            assert http.get(f"{PATH}/{other}{path}", everyone).status_code == 404, other
        assert http.get(f"{PATH}/{export}{path}").status_code == 401
        for scope in set(keys.SCOPES) - {"export"}:
            assert http.get(f"{PATH}/{export}{path}", http.key([scope])).status_code == 403
    token = http.post("/api/v1/viewer-token", http.key(["mint"]), {"tenant_id": "mine"}).json()["token"]
    for method, path in (("POST", PATH), ("GET", f"{PATH}/{export}"), ("GET", f"{PATH}/{export}/download")):
        assert http.request(method, path, token).status_code == 403
    assert http.post(PATH, mine, {"tenant_id": "rival"}).status_code == 403


def test_a_ticket_opens_its_own_export_and_nothing_else(db, http):
    keys.Tenants(db)
    mine, rival = http.key(["export"], "mine"), http.key(["export"], "rival")
    ticket = shown(http, mine, make(http, mine))["download_url"].split("signature=")[1]
    other = make(http, rival)
    shown(http, rival, other)
    assert http.get(f"{PATH}/{other}/download", params={"signature": ticket}).status_code == 403
    for path in ("/api/v1/events", "/api/v1/alerts", "/api/v1/verify", f"{PATH}/{other}", f"{PATH}/{other}/download"):
        assert http.get(path, ticket).status_code == 403, path
    assert http.post(PATH, ticket).status_code == 403
    export = make(http, mine)
    token = http.post("/api/v1/viewer-token", http.key(["mint"]), {"tenant_id": "mine"}).json()["token"]
    header, payload, mac = ticket.split(".")
    for signature, status in {"x": 401, "a.b.c": 401, f"{header}.{payload}.": 401, f"{header}.{payload}.{mac[:-2]}AA": 401, token: 403, "0" * 64: 401,
                              mine: 401, keys.digest(mine): 401, "vt_" + ticket: None}.items():
        answer = http.get(f"{PATH}/{export}/download", params={"signature": signature})
        assert answer.status_code in ((status,) if status else (200, 401, 403)), (signature, answer.text)
        assert answer.status_code != 200 or signature == "vt_" + ticket
    # An address that is wrong is not mended by a key beside it.
    assert http.get(f"{PATH}/{export}/download?signature=x", mine).status_code == 401


def test_a_key_that_is_revoked_closes_the_addresses_it_was_given(db, http):
    made = keys.create(db.conn, ["export"])
    export = make(http, made["key"])
    url = shown(http, made["key"], export)["download_url"]
    assert opened(http, url).status_code == 200
    db.conn.execute("SELECT immutable.revoke_api_key(%s)", (made["id"],))
    assert opened(http, url).status_code == 401
    assert http.get(f"{PATH}/{export}/download", made["key"]).status_code == 401


def test_pending_failed_and_expired(db, http):
    key = http.key(["export"])
    export = make(http, key)
    url = shown(http, key, export)["download_url"]
    row = "UPDATE immutable.exports SET {} WHERE id = %s"
    db.conn.execute(row.format("status = 'failed', error_message = 'a value of its filters was erased'"), (export[4:],))
    assert shown(http, key, export)["status"] == "failed" and shown(http, key, export)["download_url"] is None
    answer = http.get(f"{PATH}/{export}/download", key)
    assert answer.status_code == 409 and "was erased" in answer.json()["message"]
    assert opened(http, url).status_code == 410
    db.conn.execute(row.format("status = 'completed', expires_at = now() - interval '1 s'"), (export[4:],))
    for answer in (http.get(f"{PATH}/{export}", key), http.get(f"{PATH}/{export}/download", key), opened(http, url)):
        assert answer.status_code == 410 and answer.json()["error"] == "gone"


def test_the_address_is_the_public_one(db, program):
    plain, configured = program(), program(public_url="https://audit.example.com/log")
    proxied = program(trusted_proxy="127.0.0.0/8")
    key = plain.key(["export"])
    export = make(plain, key)

    def url(http, **headers):
        return http.get(f"{PATH}/{export}", key, headers={name.replace("_", "-"): value for name, value in headers.items()}).json()["data"]["download_url"]
    forwarded = {"Host": "log.example.com", "X_Forwarded_Proto": "https"}
    assert url(plain).startswith(plain.url + PATH)
    assert url(plain, **forwarded).startswith(f"http://log.example.com{PATH}")
    assert url(proxied, **forwarded).startswith(f"https://log.example.com{PATH}")
    assert url(configured, **forwarded).startswith(f"https://audit.example.com/log{PATH}")
    assert http_location(configured, export, key).startswith(f"https://audit.example.com/log{PATH}")
    assert "<" not in url(plain, Host="a<script>")


def http_location(http, export, key):
    return http.get(f"{PATH}/{export}/download", key).headers["location"]


def test_a_client_that_does_not_read_makes_nobody_remember(db, http):
    """What is not read stays in the database: the program holds some lines of it."""
    db.conn.execute("INSERT INTO immutable.events (actor_id, action, metadata) SELECT 'u', 'a.b', jsonb_build_object('x', repeat('y', 4000)) "
                    "FROM generate_series(1, 12000)")
    key = http.key(["export", "write"])
    export = make(http, key)
    while (data := shown(http, key, export))["status"] != "completed":
        time.sleep(0.05)
    target = data["download_url"].removeprefix(http.url)
    host, port = http.flags["listen"].split(":")
    before = memory(http)
    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        time.sleep(0.5)
        assert memory(http) - before < 24 * 1024, "it read ahead of its client"
        # Meanwhile others are served.
        assert http.post("/api/v1/events", key, {"actor_id": "u", "action": "a.b"}).status_code == 202
    deadline = time.monotonic() + 10
    while db.conn.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%export_rows($1%' AND state <> 'idle' AND pid <> pg_backend_pid() "
                          "AND datname = current_database()").fetchone() != (0,):
        assert time.monotonic() < deadline, "its client is gone, and the database still sends"
        time.sleep(0.05)


def memory(http):
    """Resident memory in kB."""
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{http.process.pid}/status").read())[1])


def test_a_download_that_breaks_is_seen_to_be_incomplete(db, http):
    db.conn.execute("INSERT INTO immutable.events (actor_id, action, metadata) SELECT 'u', 'a.b', jsonb_build_object('x', repeat('y', 4000)) "
                    "FROM generate_series(1, 6000)")
    key = http.key(["export"])
    export = make(http, key)
    url = shown(http, key, export)["download_url"]
    target = url.removeprefix(http.url)
    host, port = http.flags["listen"].split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        got = client.recv(65536)
        db.conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%export_rows($1%' AND pid <> pg_backend_pid() "
                        "AND datname = current_database()")
        client.settimeout(20)
        try:
            while piece := client.recv(1 << 20):
                got = (got + piece)[-64:]
        except ConnectionResetError:
            pass
    assert not got.endswith(b"0\r\n\r\n")
