"""A small honest SandboxFusion: it really runs the program that is posted, in a fresh process."""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Service(ThreadingHTTPServer):
    """Answers POST /run_code; counts requests. `failures`: HTTP statuses to answer with first."""

    daemon_threads = True

    def __init__(self, answer: bytes | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.failures: list[int] = []
        self.requests: list[dict] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """Quiet: a pool that is closed drops its lines."""


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        if self.path != "/run_code":
            return self.send_error(404)
        if self.server.failures:
            return self.send_error(self.server.failures.pop(0))
        answer = self.server.answer
        if answer is None:
            answer = json.dumps(run_python(body["code"], body["run_timeout"])).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format, *args):
        """Quiet."""


def run_python(code: str, timeout_s: float) -> dict:
    """The response of the service, with the fields of its documentation."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(code, encoding="ascii")
        result = {"status": "Finished", "return_code": None}
        try:
            done = subprocess.run([sys.executable, str(path)], cwd=folder, capture_output=True, timeout=timeout_s)
            result["return_code"] = done.returncode
            stdout, stderr = done.stdout, done.stderr
        except subprocess.TimeoutExpired as error:
            result["status"] = "TimeLimitExceeded"
            stdout, stderr = error.stdout or b"", error.stderr or b""
    result |= {"stdout": stdout.decode(), "stderr": stderr.decode(), "execution_time": 0.0}
    status = "Success" if result["return_code"] == 0 else "Failed"
    return {"status": status, "message": "", "compile_result": None, "run_result": result}


@contextlib.contextmanager
def serving(answer: bytes | None = None) -> Iterator[Service]:
    """A running service; with `answer`, one that always says this."""
    with Service(answer) as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield service
        service.shutdown()
        thread.join()
