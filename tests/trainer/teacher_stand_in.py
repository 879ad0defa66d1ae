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
    """`asked`: requests by question; `billed`: what it would be paid for, one for each key where it honours keys.

    What it does: `statuses`: answer these first instead; `hang_up`: work on so many and hang up before the answer; `said`: what an
    answer says; `changed`: the whole body of an answer, as text; `answered_of_batch`: end these batches as expired, with so many answers;
    `busy_with_batches`: say so often that a batch is not done.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.billed: Counter[str] = Counter()
        self.honours_keys = True
        self.statuses: list[int] = []
        self.hang_up = 0
        self.changed: Callable[[Body], str] = json.dumps
        self.answered_of_batch: list[int] = []
        self.busy_with_batches = 0
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

    def chat(self, key: str, body: Body) -> tuple[int, str] | None:
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
            if status != 200:
                return status, json.dumps({"error": {"message": "no", "type": "x", "code": None, "param": None}})
            if not (self.honours_keys and self.billed[key]):
                self.billed[key] += 1
            if self.hang_up:
                self.hang_up -= 1
                return None
        return status, self.changed(self.completion(body))

    def batch(self, body: Body) -> Body:
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].split("\n")]
        count = self.answered_of_batch.pop(0) if self.answered_of_batch else len(lines)
        out = [json.dumps({"custom_id": line["custom_id"], "response": {"status_code": 200, "body": self.completion(line["body"])}}) for line in lines[:count]]
        self.asked.update(line["custom_id"] for line in lines)
        self.billed.update(line["custom_id"] for line in lines[:count])
        name = f"batch-{len(self.batches)}"
        self.files[f"out-{name}"] = "\n".join(out)
        self.batches[name] = {
            "id": name, "object": "batch", "endpoint": body["endpoint"], "input_file_id": body["input_file_id"], "completion_window": "24h", "status": "completed" if count == len(lines) else "expired",
            "created_at": 1, "output_file_id": f"out-{name}" if count else None, "metadata": body["metadata"],
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
                answer = stand_in.chat(self.headers["Idempotency-Key"], json.loads(raw))
                if answer:
                    self._send_bytes(answer[0], answer[1].encode())
                else:
                    self.close_connection = True

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path == "/v1/batches":
                self._send(200, {"object": "list", "data": list(stand_in.batches.values()), "has_more": False})
            elif path.startswith("/v1/batches/"):
                job = stand_in.batches[path.rsplit("/", 1)[1]]
                if stand_in.busy_with_batches:
                    stand_in.busy_with_batches -= 1
                    job = {**job, "status": "in_progress", "output_file_id": None}
                self._send(200, job)
            else:
                self._send_bytes(200, stand_in.files[path.split("/")[3]].encode())

        def _send(self, status: int, body: Body) -> None:
            self._send_bytes(status, json.dumps(body).encode())

        def _send_bytes(self, status: int, data: bytes) -> None:
            """To a client that may be gone."""
            try:
                self.send_response(status)
                self.send_header("content-type", "text/html" if data.startswith(b"<") else "application/json")
                self.send_header("content-length", str(len(data)))
                if status == 429:
                    self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(data)
                self.wfile.flush()
            except OSError:
                self.close_connection = True

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
