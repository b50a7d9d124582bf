"""A receiver of webhooks: in this process, or in one of its own that can be killed."""

import collections
import json
import pathlib
import subprocess
import sys
import threading
import time

from helpers_destinations import Http

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver(Http):
    """Keeps what it gets. `answer(id, number)` gives (status, headers) for the number-th try to deliver an id; without a
    status the connection ends."""

    def __init__(self, answer=lambda id, number: (200, {})):
        self.got, self.tries, self.answer = [], collections.Counter(), answer
        self.lock = threading.Lock()
        super().__init__(self.take)
        self.url += "/in"

    def take(self, request):
        id = request.headers["webhook-id"]
        with self.lock:
            self.tries[id] += 1
            number = self.tries[id]
        status, headers = self.answer(id, number)
        if status and status < 300:
            with self.lock:
                self.got.append(json.loads(request.body))
        return status, headers, b""

    def actions(self):
        with self.lock:
            return [body["data"]["action"] for body in self.got]


CODE = '''
import http.server, json, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        data = json.loads(self.rfile.read(int(self.headers["content-length"])))["data"]
        with open(sys.argv[2], "a") as out:
            out.write(json.dumps([time.time(), data["id"], data["tenant_id"], data["integrity"]["lane"], data["integrity"]["seq"]]) + "\\n")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_port, flush=True)
server.serve_forever()
'''


class Killable:
    """A receiver in a process of its own, which notes what it gets in a file before it answers."""

    def __init__(self, directory):
        self.file = pathlib.Path(directory) / "received"
        self.file.touch()
        self.port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self.port}/in"

    def start(self):
        self.process = subprocess.Popen([sys.executable, "-c", CODE, str(self.port), str(self.file)], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def got(self):
        """(time, id, tenant, lane, seq) of everything that it noted."""
        return [tuple(json.loads(line)) for line in self.file.read_text().splitlines() if line.endswith("]")]


def until(condition, seconds=15, what="it"):
    """Waits for a condition; gives what it gave."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)
    return answer
