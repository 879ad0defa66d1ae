"""Owns the command `python -m inference`: settings from the environment, then serve until stopped, or what else is asked for."""

import argparse
import os
import socket
import sys

import uvicorn
from pydantic_core import PydanticUndefined

from inference.app import create_app
from inference.bench import bench
from inference.doctor import doctor
from inference.errors import StartError
from inference.heap import keep_tidy
from inference.loader import Loader
from inference.logs import start_logging
from inference.models_command import models
from inference.restart import come_back
from inference.same import same
from inference.schema_sets import schemas
from inference.settings import Settings, read_settings

EXAMPLES = """\
examples:
  python -m inference
  INFERENCE_PORT=9000 THREADS=4 python -m inference
  INFERENCE_HOST=0.0.0.0 INFERENCE_TOKEN=$(openssl rand -hex 24) python -m inference
  MODEL_PATH=/models/llama-3.2-1b.gguf python -m inference
  REMOTE_URL=http://gpu-node:8000/v1 REMOTE_MODEL=my-model python -m inference
  python -m inference doctor      # will it work here, and how fast can this machine be
  python -m inference bench       # how fast are answers
  python -m inference same        # do the engine's shortcuts change what is answered
  python -m inference schemas DIR # what becomes of a public set of JSON schemas
  python -m inference models      # list, load and unload models of a running service

settings, each an environment variable:
"""

COMMANDS = {"bench": bench, "doctor": doctor, "models": models, "same": same, "schemas": schemas}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inference",
        description="Serve schema-true answers from a local model, or from one at another server.",
        epilog=EXAMPLES + _settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", choices=["serve", *COMMANDS], default="serve", help="default: serve; the others have a --help of their own")
    command = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    try:
        if command:
            return command(sys.argv[2:])
        parser.parse_args()
        settings = read_settings()
        keep_tidy()
        start_logging(settings.log_format, show_texts=settings.log_prompts)
        check_free(settings.inference_host, settings.inference_port)
        loader = Loader(settings)
        loader.check_budget()
        live = come_back(settings, loader)
        config = uvicorn.Config(
            create_app(settings, live), host=settings.inference_host, port=settings.inference_port, log_level="warning", log_config=None, timeout_graceful_shutdown=10, server_header=False
        )
        server = uvicorn.Server(config)
        server.run()
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if server.started else 1


def check_free(host: str, port: int) -> None:
    """Raises StartError when somebody listens there already: said before a model is loaded."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise StartError(f"Cannot listen on {host}:{port}: {os.strerror(error.errno or 0)} (choose others with INFERENCE_HOST and INFERENCE_PORT)") from None


def _settings_help() -> str:
    return "\n".join(f"  {name.upper():<22} {field.description}{_default(field.default)}" for name, field in Settings.model_fields.items())


def _default(value: object) -> str:
    return "" if value is None or value is PydanticUndefined else f" (default: {value})"


if __name__ == "__main__":
    sys.exit(main())
