"""Owns the command `python -m inference`: settings from the environment, then serve until stopped."""

import argparse
import logging
import os
import socket
import sys

import uvicorn
from pydantic_core import PydanticUndefined

from inference.app import create_app
from inference.errors import StartError
from inference.loader import START, Loader
from inference.models import Models
from inference.models_command import add_models_command
from inference.settings import Settings, read_settings

EXAMPLES = """\
examples:
  python -m inference
  INFERENCE_PORT=9000 THREADS=4 python -m inference
  INFERENCE_HOST=0.0.0.0 INFERENCE_TOKEN=$(openssl rand -hex 24) python -m inference
  MODEL_PATH=/models/llama-3.2-1b.gguf python -m inference
  REMOTE_URL=http://gpu-node:8000/v1 REMOTE_MODEL=my-model python -m inference

settings, each an environment variable:
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inference",
        description="Serve schema-true answers from a local model, or from one at another server.",
        epilog=EXAMPLES + _settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_models_command(parser.add_subparsers(dest="command", metavar="models"))
    options = parser.parse_args()
    if options.command:
        return int(options.run(options))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        settings = read_settings()
        check_free(settings.inference_host, settings.inference_port)
        loader = Loader(settings)
        loader.check_budget()
        models = Models(loader.load(START), loader, longest_s=settings.deadline_s)
        config = uvicorn.Config(create_app(settings, models), host=settings.inference_host, port=settings.inference_port, log_level="warning", timeout_graceful_shutdown=10, server_header=False)
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
