"""A real HTTP server that answers as an OpenAI-compatible endpoint does, with the templates' answers. It counts what it is asked."""

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from shared_schemas.features.risk import RiskInput, RiskOutput
from trainer.risk_teacher import coach

Body = dict[str, Any]


class StandIn:
    """`served`: finished answers by question; `statuses`: what to answer first instead; `said`: what an answer says."""

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.statuses: list[int] = []
        self.most_at_once = 0
        self.kill_at: tuple[int, int] | None = None
        self.said: Callable[[Body], str] = coach_says
        self.finish_reason = "stop"
        self.refusal: str | None = None
        self.bodies: list[Body] = []
        self.batches: dict[str, Body] = {}
        self.files: dict[str, str] = {}
        self.endpoint = ""
        self._lock = threading.Lock()
        self._now = 0

    def completion(self, body: Body) -> Body:
        message = {"role": "assistant", "content": None if self.refusal else self.said(body), "refusal": self.refusal}
        choice = {"index": 0, "finish_reason": self.finish_reason, "message": message, "logprobs": None}
        usage = {"prompt_tokens": 400, "completion_tokens": 80, "total_tokens": 480}
        return {"id": "c", "object": "chat.completion", "created": 1, "model": f"{body['model']}-2026-01-01", "choices": [choice], "usage": usage}

    def chat(self, key: str, body: Body) -> tuple[int, Body]:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self.asked[key] += 1
            self.bodies.append(body)
            status = self.statuses.pop(0) if self.statuses else 200
            if self.kill_at and self.asked.total() == self.kill_at[1]:
                os.kill(self.kill_at[0], signal.SIGKILL)
                _wait_until_gone(self.kill_at[0])
            self._now -= 1
        return status, self.completion(body) if status == 200 else {"error": {"message": "no", "type": "x", "code": None, "param": None}}

    def batch(self, body: Body) -> Body:
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].split("\n")]
        out = [json.dumps({"custom_id": line["custom_id"], "response": {"status_code": 200, "body": self.completion(line["body"])}}) for line in lines]
        self.asked.update(line["custom_id"] for line in lines)
        name = f"batch-{len(self.batches)}"
        self.files[f"out-{name}"] = "\n".join(out)
        self.batches[name] = {
            "id": name, "object": "batch", "endpoint": body["endpoint"], "input_file_id": body["input_file_id"], "completion_window": "24h", "status": "completed",
            "created_at": 1, "output_file_id": f"out-{name}", "metadata": body["metadata"],
        }  # fmt: skip
        return self.batches[name]


def coach_says(body: Body) -> str:
    return said_by(body).model_dump_json()


def said_by(body: Body) -> RiskOutput:
    task = RiskInput.model_validate_json(body["messages"][-1]["content"])
    return coach(task, "screen")


@contextmanager
def stand_in_teacher() -> Iterator[StandIn]:
    stand_in = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/files":
                name = f"file-{len(stand_in.files)}"
                stand_in.files[name] = _uploaded(raw)
                self._send(200, {"id": name, "object": "file", "bytes": 1, "created_at": 1, "filename": "questions.jsonl", "purpose": "batch", "status": "processed"})
            elif self.path == "/v1/batches":
                self._send(200, stand_in.batch(json.loads(raw)))
            else:
                key = self.headers["Idempotency-Key"]
                self._send(*stand_in.chat(key, json.loads(raw)), served=key)

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path == "/v1/batches":
                self._send(200, {"object": "list", "data": list(stand_in.batches.values()), "has_more": False})
            elif path.startswith("/v1/batches/"):
                self._send(200, stand_in.batches[path.rsplit("/", 1)[1]])
            else:
                self._send_bytes(200, stand_in.files[path.split("/")[3]].encode())

        def _send(self, status: int, body: Body, served: str | None = None) -> None:
            try:
                self._send_bytes(status, json.dumps(body).encode())
            except OSError:
                self.close_connection = True
                return
            if served and status == 200:
                stand_in.served[served] += 1

        def _send_bytes(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            if status == 429:
                self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stand_in.endpoint = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _uploaded(raw: bytes) -> str:
    """The file's content in a multipart body."""
    part = next(part for part in raw.split(raw.split(b"\r\n", 1)[0]) if b"questions.jsonl" in part)
    return part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n").decode()


def _wait_until_gone(pid: int) -> None:
    """Until the killed process can no longer read an answer."""
    while True:
        try:
            if Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] in {"Z", "X"}:
                return
        except FileNotFoundError:
            return
        time.sleep(0.005)
