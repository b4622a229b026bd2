"""The one target that functions-framework is given in the container: every request arrives here."""

from starlette.requests import Request
from starlette.responses import Response


async def handle(request: Request) -> Response:
    """Hand a request to the application that runs and give its answer back."""
    response: Response = await request.scope["serving.application"].handle(request)
    return response
