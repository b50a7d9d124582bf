"""Receivers of deliveries, as a test wants them, and the command that sends to them once."""

import datetime
import http.server
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import threading
import types

import helpers_http
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Nothing on the way to a receiver of a test: whatever proxy the machine has is not asked.
ENVIRONMENT = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}


def event(number=1, **members):
    """An event as get_events() shows it, recorded now."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "id": f"0195d3a0-6c1e-7c3a-9f00-{number:012d}", "tenant_id": "org_1",
        "actor": {"id": "user_1", "name": "Sarah Chen", "type": "user"},
        "action": "document.created", "action_category": None,
        "resource": {"type": "document", "id": "doc_1", "name": "Report"},
        "targets": [{"type": "team", "id": "team_5", "name": "Ops"}], "metadata": {"folder": "reports"},
        "session_id": "s1", "ip_address": "203.0.113.7", "ip_country": "DE", "ip_city": None, "user_agent": "curl/8",
        "idempotency_key": None, "version": None,
        "integrity": {"event_hash": "ab" * 32, "previous_event_hash": "cd" * 32, "lane": 0, "seq": number},
        "occurred_at": now, "created_at": now, **members}


ALERT = {
    "id": "0195d3a0-7000-7c3a-9f00-3b7d52d1c0aa", "rule_id": "0195d3a0-7000-7c3a-9f00-3b7d52d1c0bb",
    "rule_name": "Suspicious | login", "rule_type": "new_country", "reason": "user_1 was in DE for the first time",
    "event_id": "0195d3a0-6c1e-7c3a-9f00-3b7d52d1c001",
    "event": {"id": "0195d3a0-6c1e-7c3a-9f00-3b7d52d1c001", "action": "user.login", "action_category": None,
              "actor_id": "user_1", "actor_name": None, "actor_type": "user", "resource_type": None,
              "resource_id": None, "resource_name": None, "ip_country": "DE", "ip_city": None,
              "ip_address": "2001:db8::7", "tenant_id": None, "occurred_at": "2026-03-26T08:45:12.000000Z",
              "created_at": "2026-03-26T08:45:12.000100Z"},
    "notified_at": None, "triggered_at": "2026-03-26T08:45:12.500000Z"}


def run(items, *arguments, environment=None, **options):
    """The command; gives a CompletedProcess with bytes."""
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    return subprocess.run([helpers_http.PROGRAM, "try-delivery", *map(str, arguments)], input=lines.encode(),
                          capture_output=True, timeout=60, env={**ENVIRONMENT, **(environment or {})}, **options)


def printed(items, form, destination=None):
    """The items in this format, one text each."""
    given = ["--destination", json.dumps(destination)] if destination else []
    done = run(items, "--print", "--format", form, *given)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == len(items)
    return done.stdout.decode().removesuffix("\n").split("\n") if items else []


class Sender:
    """Sends items, with secrets and files in directories of the test."""

    def __init__(self, directory):
        self.secrets, self.files = directory / "secrets", directory / "files"
        self.secrets.mkdir()
        self.files.mkdir()

    def secret(self, name, text):
        (self.secrets / name).write_text(text + "\n")

    def __call__(self, items, destination, form="json", environment=None):
        """What is printed for each outcome."""
        done = run(items, "--destination", json.dumps(destination), "--format", form, "--secrets-dir", self.secrets,
                   "--files-dir", self.files, environment=environment)
        assert done.returncode in (0, 1), done.stderr
        outcomes = [json.loads(line) for line in done.stdout.splitlines()]
        assert (done.returncode == 0) == all(outcome["outcome"] == "delivered" for outcome in outcomes)
        return outcomes


class Authority:
    """A private authority of certificates, and one certificate for 127.0.0.1 and localhost."""

    def __init__(self, directory):
        self.file, self.server = directory / "ca.pem", directory / "server.pem"
        now = datetime.datetime.now(datetime.timezone.utc)
        name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
        def make(subject, key, issuer_key, extensions):
            builder = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("private authority"))
                       .public_key(key.public_key()).serial_number(x509.random_serial_number())
                       .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1)))
            for extension, critical in extensions:
                builder = builder.add_extension(extension, critical)
            return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        ca, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self.file.write_bytes(make("private authority", ca, ca, [(x509.BasicConstraints(True, None), True)]))
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        self.server.write_bytes(make("localhost", key, ca, [(names, False)]) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.server)


class Http:
    """A receiver that speaks HTTP. `answer(request)` gives a status, or a status, headers and a body; None instead of a
    status ends the connection without an answer."""

    def __init__(self, answer=lambda request: 200, context=None):
        self.requests = requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                requests.append(request := types.SimpleNamespace(path=self.path, headers=self.headers, body=body))
                status, headers, body = given if isinstance(given := answer(request), tuple) else (given, {}, b"")
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", len(body))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Tcp:
    """A receiver of connections. `serve(socket)` is called for each; what it returns is kept."""

    def __init__(self, serve, context=None):
        self.kept, self.serve, self.context = [], serve, context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.handle, args=(connection,), daemon=True).start()

    def handle(self, connection):
        try:
            connection.settimeout(20)
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection:
                self.kept.append(self.serve(connection))
        except OSError:
            pass

    def close(self):
        self.listener.close()


def read_all(connection):
    """Everything until the other side says that it is done."""
    out = b""
    while part := connection.recv(65536):
        out += part
    return out
