"""`GET /live`: server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from api.context import Who
from api.query import Empty

router = APIRouter(tags=["live"])


@router.get("/live", summary="Everything as it changes (server-sent events)", response_class=StreamingResponse)
async def live(request: Request, who: Who, query: Annotated[Empty, Query()]) -> StreamingResponse:
    """Events: hello, metric, pipeline, alerts, anomalies, status. A new subscriber gets the newest of each at once.

    `EventSource` cannot set headers, so this endpoint also takes `?access_token=KEY`; it is taken out of the address
    before anything can log it.
    """
    stream = request.app.state.live.subscribe(who)
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
