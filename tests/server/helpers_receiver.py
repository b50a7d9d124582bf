"""A receiver of webhooks: in this process, or in one of its own that can be killed."""

import collections
import http.server
import json
import pathlib
import subprocess
import sys
import threading
import time

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver:
    """Keeps what it gets. `answer(id, number)` gives (status, headers) for the number-th try to deliver an id."""

    def __init__(self, answer=lambda id, number: (200, {})):
        self.got, self.tries, self.answer = [], collections.Counter(), answer
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                id = self.headers["webhook-id"]
                with outer.lock:
                    outer.tries[id] += 1
                    number = outer.tries[id]
                status, headers = outer.answer(id, number)
                if status is None:
                    self.close_connection = True
                    return
                with outer.lock:
                    if status < 300:
                        outer.got.append(body)
                self.send_response(status)
                for name, value in {"content-length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/in"

    def actions(self):
        with self.lock:
            return [body["data"]["action"] for body in self.got]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


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
