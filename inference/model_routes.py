"""Owns the routes by which models are listed, loaded and unloaded. Knows nothing of how any of that is done."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator, Field

from inference.faults import described
from inference.models import ModelFacts, Models
from shared_schemas.closed import Closed
from shared_schemas.features import FEATURES


def _known(name: str) -> str:
    if name not in FEATURES:
        raise ValueError(f"no feature is called {name!r} (known: {', '.join(FEATURES)})")
    return name


FeatureName = Annotated[str, AfterValidator(_known)]


class WantedModel(Closed):
    """A folder under MODEL_FOLDER (`@start`: the model of the settings), and the features that it shall answer from then on.

    Without `wait` the answer is 202 at once, and the list of models says what became of it.
    """

    folder: Annotated[str, Field(min_length=1, max_length=100)]
    features: Annotated[list[FeatureName], Field(max_length=len(FEATURES), default_factory=list)]
    wait: bool = True


_REFUSALS = described(
    {
        400: "The body ended before its announced length",
        401: "The bearer token is missing or wrong",
        403: "This service lets nobody load or unload models",
        404: "No model and no folder has that name",
        408: "The body came too slowly",
        409: "The model is at work, or another one is being loaded",
        413: "The body is too large",
        422: "The model was not put to work, and the others go on; the text says why",
    }
)


def model_routes(models: Models, *, caller: Any, admin: Any) -> APIRouter:
    """`caller` and `admin` are the dependencies that let callers and operators in."""
    routes = APIRouter(prefix="/v1/models")

    @routes.get("", dependencies=[Depends(caller)], responses={401: _REFUSALS[401]})
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [describe(facts) for facts in models.facts()]}

    @routes.post("", dependencies=[Depends(admin)], responses={202: {"description": "It is being loaded; the list will say what became of it"}, **_REFUSALS})
    async def load_model(wanted: WantedModel, response: Response) -> dict[str, Any]:
        if wanted.wait:
            return describe(await models.load(wanted.folder, wanted.features))
        response.status_code = 202
        return describe(models.load_later(wanted.folder, wanted.features))

    @routes.delete("/{name}", dependencies=[Depends(admin)], responses=_REFUSALS)
    async def unload_model(name: str) -> dict[str, Any]:
        return describe(models.unload(name))

    return routes


def describe(facts: ModelFacts) -> dict[str, Any]:
    """One entry of OpenAI's list of models, with what we know besides."""
    version = facts.version
    return {
        "id": facts.name,
        "object": "model",
        "created": int(facts.loaded_at.timestamp()) if facts.loaded_at else 0,
        "owned_by": "talentops" if version is None or version.base_sha256 else "remote",
        "state": facts.state,
        "features": list(facts.features),
        "prompt_style": version and version.prompt_style,
        "base_sha256": version and version.base_sha256,
        "adapter_sha256": version and version.adapter_sha256,
        "weights_sha256": facts.weights_sha256,
        "loaded_at": facts.loaded_at and facts.loaded_at.isoformat(timespec="seconds"),
        "why": facts.why,
    }
