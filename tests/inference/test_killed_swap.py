"""A service that is killed while it swaps models comes back with the old one or the new one, whole, and the swap can be made again."""

import json
import os
import signal
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
from callers import RISK
from started_service import MODELS, Service, started

from inference.live_list import LIVE
from shared_schemas.features import FEATURES

MOMENTS = (0.6, 1.0)
"""Parts of the time that a swap takes; at 1.0 its answer has just come."""


def service(folder: Path) -> AbstractContextManager[Service]:
    return started(parallel=2, waiting=4, deadline_s=60, threads=2, context_tokens=6144, kept=folder)


def swap(it: Service, name: str) -> httpx.Response:
    return httpx.post(f"{it.url}/v1/models", json={"folder": name, "features": ["risk", "plan"]}, headers={"authorization": f"Bearer {it.admin_token}"}, timeout=120)


def who_answers(it: Service) -> str:
    answer = httpx.post(it.url + RISK, json=FEATURES["risk"].golden.model_dump(mode="json"), headers={"authorization": f"Bearer {it.token}"}, timeout=120)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model"]["name"])


def test_a_service_killed_within_a_swap_comes_back_with_one_model_or_the_other(tmp_path: Path) -> None:
    old, new = MODELS
    with service(tmp_path) as it:
        assert swap(it, new).status_code == 200
        began = time.monotonic()
        assert swap(it, old).status_code == 200
        took = time.monotonic() - began
    came_back = []
    for moment in MOMENTS:
        with service(tmp_path) as it:
            assert who_answers(it) == old
            heard: list[int] = []
            asking = threading.Thread(target=_ask, args=(it, new, heard))
            asking.start()
            asking.join(moment * took if moment < 1 else 120)
            os.kill(it.pid, signal.SIGKILL)
            asking.join(60)
            assert not asking.is_alive()
        kept = json.loads((tmp_path / "models" / LIVE).read_text())
        assert set(kept.values()) in ({old}, {new}), kept
        with service(tmp_path) as it:
            back = who_answers(it)
            assert {back} == set(kept.values())
            assert back == new or heard != [200]
            came_back.append(back == new)
            assert swap(it, new).status_code == 200
            assert who_answers(it) == new
        old, new = new, old
    assert not came_back[0]
    assert came_back[-1]


def _ask(it: Service, name: str, heard: list[int]) -> None:
    """The swap, as one who may not live to hear of it."""
    try:
        heard.append(swap(it, name).status_code)
    except httpx.TransportError:
        heard.append(0)
