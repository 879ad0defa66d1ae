"""Owns the operator's commands about live models: `python -m inference models list | load | unload`, over HTTP."""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

from inference.errors import InferenceError
from shared_schemas.features import FEATURES

EXAMPLES = """\
examples:
  python -m inference models list
  python -m inference models load smollm2-135m-c88f83f5 --feature risk --feature plan
  python -m inference models load @start --feature risk          (back to the model of the settings)
  python -m inference models unload smollm2-135m-c88f83f5 --url https://slm.example.com

The tokens come from INFERENCE_TOKEN (list) and INFERENCE_ADMIN_TOKEN (load, unload).
"""


class _Refused(InferenceError):
    """The service would not; the text is its reason."""

    code = "refused"


def models(arguments: list[str]) -> int:
    """The command's exit status: 1 when the service would not."""
    parser = argparse.ArgumentParser(
        prog="python -m inference models", description="List, load and unload models of a running service.", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    deeds = parser.add_subparsers(dest="deed", required=True, metavar="list|load|unload")
    url = argparse.ArgumentParser(add_help=False)
    url.add_argument("--url", default=f"http://127.0.0.1:{os.environ.get('INFERENCE_PORT') or 8100}", help="where the service listens (default: %(default)s)")
    url.add_argument("--json", action="store_true", help="print what the service answered")
    deeds.add_parser("list", parents=[url], help="what is live, loading, draining or failed")
    load = deeds.add_parser("load", parents=[url], help="load a model beside the others, test it, put it to work")
    load.add_argument("folder", help="its folder under MODEL_FOLDER; @start: the model of the settings")
    load.add_argument("--feature", action="append", default=[], choices=list(FEATURES), help="what it shall answer from then on; may be repeated (default: nothing)")
    load.add_argument("--no-wait", action="store_true", help="return at once; `list` says what became of it")
    unload = deeds.add_parser("unload", parents=[url], help="unload a model that answers nothing")
    unload.add_argument("name")
    options = parser.parse_args(arguments)
    try:
        answer = _answer(options)
    except _Refused as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(answer, indent=2))
        return 0
    for model in answer.get("data", [answer]):
        print(f"{model['id']:<32} {model['state']:<9} {','.join(model['features']) or '-':<10} {(model['weights_sha256'] or '-')[:12]:<13} {model['loaded_at'] or '-'} {model['why'] or ''}".rstrip())
    return 0


def _answer(options: argparse.Namespace) -> Any:
    match options.deed:
        case "list":
            return _call(options.url, "GET", "", os.environ.get("INFERENCE_TOKEN"))
        case "load":
            body = {"folder": options.folder, "features": options.feature, "wait": not options.no_wait}
            return _call(options.url, "POST", "", os.environ.get("INFERENCE_ADMIN_TOKEN"), body)
        case _:
            return _call(options.url, "DELETE", "/" + quote(options.name, safe=""), os.environ.get("INFERENCE_ADMIN_TOKEN"))


def _call(url: str, method: str, path: str, token: str | None, body: Any = None) -> Any:
    """The service's answer. Raises _Refused with its own words."""
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
    data = json.dumps(body).encode() if body is not None else None
    if not url.startswith(("http://", "https://")):
        raise _Refused(f"Cannot ask {url!r}: it is no http or https address")
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url.rstrip('/')}/v1/models{path}", data, headers, method=method), timeout=900) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise _Refused(_message(error)) from None
    except OSError as error:
        raise _Refused(f"Cannot reach {url}: {getattr(error, 'reason', error)}") from None
    except ValueError:
        raise _Refused(f"Cannot read the answer of {url}: it is no inference service") from None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The service answered {error.code}"
