"""What an operator sees and sets: configuration, TLS, health, figures, logs, and the end of the program."""

import concurrent.futures
import json
import os
import pathlib
import re
import resource
import shutil
import socket
import ssl
import subprocess
import time

import conftest
import helpers_http
import httpx
import pytest
from helpers_http import PROGRAM

EVENT = {"actor_id": "u", "action": "a.b"}


def started(*arguments, environment=None, text=None):
    """The program with these flags, which ends at once because of something that is wrong with them."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMMUTABLE_")}
    return subprocess.run([PROGRAM, *arguments], env={**clean, **(environment or {})}, text=True, capture_output=True, timeout=20)


def test_flags_are_stronger_than_the_environment_and_that_than_the_file(program, tmp_path):
    file = tmp_path / "server.toml"
    file.write_text('max-body = 2000\nlog-format = "json"\nrate-limit = 1000\ntrusted-proxy = ["127.0.0.1", "10.0.0.0/8"]\ncors-origin = ["https://file.example"]\n')
    http = program(config=file, max_body=4000, environment={"IMMUTABLE_MAX_BODY": "3000", "IMMUTABLE_CORS_ORIGIN": "https://a.example,https://b.example"})
    key = http.key(allowed_ips=["198.51.100.0/24"])
    assert "4000" in http.post("/api/v1/events", key, {"x": "y" * 5000}).json()["message"]
    assert http.get("/healthz", headers={"Origin": "https://b.example"}).headers["access-control-allow-origin"] == "https://b.example"
    assert http.post("/api/v1/events", key, EVENT, headers={"X-Forwarded-For": "198.51.100.1"}).status_code == 202
    assert all(json.loads(line) for line in http.log.read_text().splitlines())


def test_what_is_wrong_with_the_configuration_ends_the_program_with_a_sentence(tmp_path):
    file = tmp_path / "server.toml"
    dsn = "host=127.0.0.1 user=u password=geheim"
    for text, said in [("lissten = 1", "no setting lissten"), ("max-body = [1]", "takes one value"), ("max_body = 5", "no setting max_body"), ("listen = ", "not TOML"),
                       ('listen = "here"', "--listen"), ("max-body = 1", "--max-body"), ("config = 'x'", "no setting config")]:
        file.write_text(text)
        done = started("--config", file, "--database", dsn)
        assert done.returncode == 2 and said in done.stderr, (text, done.stderr)
    for arguments, said in [((), "--database"), (("--database", "host"), "--database"), (("--database", dsn + " sslmode=maybe"), "sslmode must be"),
                            (("--database", "host=x"), "no user"), (("--database", dsn, "--config", tmp_path / "none"), "cannot be read"),
                            (("--database", dsn, "--tls-cert", file), "--tls-key"), (("--database", dsn, "--tls-cert", file, "--tls-key", file), "--tls-"),
                            (("--database", dsn + " sslmode=verify-full sslrootcert=/none"), "sslrootcert"), (("--database", dsn, "--public-url", "x"), "--public-url"),
                            (("--database", dsn, "--listen", "192.0.2.1:1"), "cannot listen"), (("--database", dsn, "--log-level", "a=b=c"), "--log-level")]:
        done = started(*arguments)
        assert done.returncode == 2 and said in done.stderr and "geheim" not in done.stderr, (arguments, done.stderr)
    shown = started("--help", environment={"IMMUTABLE_DATABASE": dsn})
    assert shown.returncode == 0 and "IMMUTABLE_LISTEN" in shown.stdout and "geheim" not in shown.stdout


def test_the_guide_has_every_flag():
    flags = set(re.findall(r"^      (--[a-z-]+) <", started("--help").stdout, re.M))
    guide = (pathlib.Path(__file__).resolve().parents[2] / "docs/server.md").read_text()
    table = guide[guide.index("| flag |"):guide.index("The file is TOML")]
    assert set(re.findall(r"`(--[a-z-]+)`", table)) == flags and len(flags) > 15


def test_health_says_what_works(http):
    assert http.get("/healthz").json()["status"] == "ok"
    ready = http.get("/readyz")
    assert ready.status_code == 200 and ready.json()["extension"] == http.get("/healthz").json()["version"]


def test_figures_count_requests_by_route_and_do_not_grow_with_paths(http):
    key = http.key()
    assert http.post("/api/v1/events", key, EVENT).status_code == 202
    assert http.post("/api/v1/events", key, {}).status_code == 422
    for n in range(5):
        http.get(f"/made/up/{n}")
        http.request(f"MADE{n}", "/api/v1/events")
    text = http.get("/metrics").text
    counted = dict(re.findall(r"^(immutable_\w+(?:\{.*\})?) ([\d.]+)$", text, re.M))
    of = 'immutable_http_requests_total{{method="{}",route="{}",status="{}"}}'
    assert counted[of.format("POST", "/api/v1/events", 202)] == "1"
    assert counted[of.format("POST", "/api/v1/events", 422)] == "1"
    assert counted[of.format("GET", "none", 404)] == "5"
    assert counted[of.format("other", "/api/v1/events", 405)] == "5"
    assert counted['immutable_http_request_seconds_count{method="POST",route="/api/v1/events"}'] == "2"
    assert counted['immutable_database_errors_total{sqlstate="23502"}'] == "1"
    assert counted['immutable_database_connections{state="max"}'] == "16"
    assert int(counted['immutable_database_connections{state="open"}']) >= 1
    assert counted["immutable_http_requests_in_flight"] == "1"
    assert "made" not in text and "MADE" not in text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_logs_have_a_line_a_request_and_no_secrets(program, log_format):
    http = program(log_format=log_format, log_level="debug")
    key = http.key()
    token, = http.database.conn.execute("SELECT immutable.create_viewer_token('org') ->> 'token'").fetchone()
    http.post("/api/v1/events", key, {**EVENT, "actor_id": "person@example.org"})
    http.post("/api/v1/events", "imk_wrong_key", EVENT)
    http.get("/api/v1/events?search=geheim&token=" + token, token)
    log = http.log.read_text()
    secrets = [key, key[4:20], token, token.split(".")[1], "imk_", "geheim", "person@example.org", "?", "password"]
    assert [secret for secret in secrets if secret in log] == []
    lines = [line for line in log.splitlines() if "answered" in line]
    assert len(lines) == 3
    if log_format == "json":
        asked = json.loads(lines[0])
        assert (asked["method"], asked["path"], asked["status"], asked["address"]) == ("POST", "/api/v1/events", 202, "127.0.0.1")
        assert asked["id"] and asked["millis"] > 0


def test_what_was_accepted_before_the_end_is_in_the_log(program):
    http = program()
    key = http.key()

    def send(n):
        taken = []
        with httpx.Client(headers={"Authorization": f"Bearer {key}"}) as client:
            try:
                while True:
                    answer = client.post(http.url + "/api/v1/events", json={"actor_id": f"w{n}", "action": "a.b"})
                    assert answer.status_code == 202, answer.text
                    taken.append(answer.json()["id"])
            except httpx.TransportError:
                return taken

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        sent = [threads.submit(send, n) for n in range(8)]
        while http.database.conn.execute("SELECT count(*) FROM immutable.events WHERE action = 'a.b'").fetchone()[0] < 100:
            time.sleep(0.01)
        assert http.stop() == 0
        taken = [each for future in sent for each in future.result()]
    assert len(taken) >= 90
    found = http.database.conn.execute("SELECT count(*) FROM immutable.events WHERE id = ANY (%s::uuid[])", [taken]).fetchone()[0]
    assert found == len(taken)


def test_a_request_that_has_begun_is_answered_before_the_end(program):
    http = program()
    key = http.key()
    with http.database.connect(autocommit=False) as blocker, concurrent.futures.ThreadPoolExecutor(1) as threads:
        blocker.execute("LOCK TABLE immutable.events")
        sent = threads.submit(http.post, "/api/v1/events", key, EVENT)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'"
        while http.database.conn.execute(waits, [http.login]).fetchone() == (0,):
            time.sleep(0.01)
        http.process.send_signal(15)
        while "stops" not in http.log.read_text():
            time.sleep(0.01)
        with pytest.raises(httpx.ConnectError):
            http.get("/healthz")
        blocker.rollback()
        assert sent.result().status_code == 202
    assert http.process.wait(10) == 0


def test_a_thousand_idle_connections_take_little_memory(program):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    http = program(log_level="info,requests=off")
    key = http.key()
    host, port = http.flags["listen"].split(":")
    body = json.dumps(EVENT).encode()
    request = b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (key.encode(), len(body), body)
    clients = [socket.create_connection((host, int(port))) for _ in range(1000)]
    try:
        for n in range(0, 1000, 20):
            for client in clients[n:n + 20]:
                client.sendall(request if n < 200 else b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in clients[n:n + 20]:
                assert client.recv(4096).startswith(b"HTTP/1.1 20")
        status = pathlib.Path(f"/proc/{http.process.pid}/status").read_text()
        resident = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])
        # The bar of the design. An unoptimised build needs no more.
        assert resident <= 64 * 1024, resident
    finally:
        for client in clients:
            client.close()
    print("kB of 1,000 connections:", resident)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for localhost that signs itself, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", directory / "key.pem", "-out", directory / "cert.pem"], check=True, capture_output=True)
    return directory / "cert.pem", directory / "key.pem"


def test_clients_may_speak_tls(program, certificate):
    cert, key = certificate
    http = program(tls_cert=cert, tls_key=key)
    port = http.flags["listen"].split(":")[1]
    context = ssl.create_default_context(cafile=cert)
    answer = httpx.post(f"https://localhost:{port}/api/v1/events", json=EVENT, headers={"Authorization": f"Bearer {http.key()}"}, verify=context)
    assert answer.status_code == 202
    with pytest.raises(httpx.TransportError):
        http.get("/healthz")
    http.process.send_signal(1)
    while "read the certificate anew" not in http.log.read_text():
        time.sleep(0.01)
    assert httpx.get(f"https://localhost:{port}/healthz", verify=context).status_code == 200


def test_sslmode_means_what_libpq_means(cluster, certificate, tmp_path):
    """The server's certificate is for localhost. The address is one of the machine's own that no other test takes."""
    number = os.getpid()
    address = f"127.{number % 250 + 1}.{number // 250 % 250}.7"
    away = cluster(listen_addresses=address)
    owner = away.data.stat()
    for file in certificate:
        copy = away.data / file.name
        shutil.copy(file, copy)
        os.chmod(copy, 0o600)
        os.chown(copy, owner.st_uid, owner.st_gid)
    away.start(listen_addresses=address, ssl="on", ssl_cert_file="cert.pem", ssl_key_file="key.pem")
    db = conftest.Database(away)
    login = db.create_role("IN ROLE immutable_server")
    for mode, host, works, encrypted in [("disable", "127.0.0.1", True, False), ("prefer", "127.0.0.1", True, True), ("require", "elsewhere", True, True),
                                         ("verify-ca", "elsewhere", True, True), ("verify-full", "localhost", True, True), ("verify-full", "elsewhere", False, None)]:
        root = f"sslrootcert={certificate[0]}" if mode.startswith("verify") else ""
        http = helpers_http.Program(db, tmp_path, login, database=f"host={host} hostaddr={address} port={away.port} user={login} dbname={db.name} sslmode={mode} {root}")
        assert http.get("/readyz").status_code == (200 if works else 503), (mode, host, http.log.read_text())
        ssl_of = "SELECT s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE a.usename = %s"
        assert not works or db.conn.execute(ssl_of, [login]).fetchall() == [(encrypted,)], mode
        http.stop(9)
        while db.conn.execute(ssl_of, [login]).fetchall():
            time.sleep(0.01)
    db.close()
