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
from inference.logs import start_logging
from inference.model_store import find_model
from inference.predict import Predictor
from inference.settings import Settings, read_settings

EXAMPLES = """\
examples:
  python -m inference
  INFERENCE_PORT=9000 THREADS=4 python -m inference
  INFERENCE_HOST=0.0.0.0 INFERENCE_TOKEN=$(openssl rand -hex 24) python -m inference
  MODEL_PATH=/models/llama-3.2-1b.gguf python -m inference
  python -m inference doctor      # will it work here, and how fast can this machine be
  python -m inference bench       # how fast are answers

settings, each an environment variable:
"""

COMMANDS = {"bench": bench, "doctor": doctor}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inference", description="Serve schema-true answers from a local model.", epilog=EXAMPLES + _settings_help(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=["serve", *COMMANDS], default="serve", help="default: serve; 'bench --help' and 'doctor --help' say more")
    command = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    try:
        if command:
            return command(sys.argv[2:])
        parser.parse_args()
        settings = read_settings()
        start_logging(settings.log_format, show_texts=settings.log_prompts)
        check_free(settings.inference_host, settings.inference_port)
        threads = settings.threads or os.cpu_count() or 1
        predictor = Predictor(find_model(settings), n_ctx=settings.context_tokens, n_threads=threads, parallel=settings.parallel, waiting=settings.queue_limit)
        config = uvicorn.Config(
            create_app(settings, predictor), host=settings.inference_host, port=settings.inference_port, log_level="warning", log_config=None, timeout_graceful_shutdown=10, server_header=False
        )
        server = uvicorn.Server(config)
        try:
            server.run()
        finally:
            predictor.close()
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
    return "\n".join(f"  {name.upper():<18} {field.description}{_default(field.default)}" for name, field in Settings.model_fields.items())


def _default(value: object) -> str:
    return "" if value is None or value is PydanticUndefined else f" (default: {value})"


if __name__ == "__main__":
    sys.exit(main())
