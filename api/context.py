"""What the routes share, and who is asking. The tenant always comes from the key, never from a parameter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from api.ledger import LedgerReader
from api.metrics import MetricReader
from api.problems import Problem
from api.reader import Reader
from api.rollups.standing import CoverageReader
from api.segments import SegmentReader
from api.settings import ApiSettings
from schemas.clock import Clock
from schemas.dead_letters.patch import Patch
from schemas.dead_letters.selection import Selection
from schemas.funnels import Funnels
from schemas.keys import Key, KeyRefused, KeyStore, Kind, Role
from schemas.metrics import Dictionary
from schemas.taxonomy.pack import Pack

Publish = Callable[[str, Sequence[dict[str, Any]]], Awaitable[None]]
"""`await publish(tenant, events)`: returns when the events are durable. Raises Retryable (then nothing or everything is
stored; the same ids may be sent again) or Permanent with the reason why an event was refused."""

_RANKS: Final = (Role.VIEWER, Role.ANALYST, Role.ADMIN)
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="headrace"'}


class DeadLetterDesk(Protocol):
    """Mends and replays dead letters of a tenant; `deploy` passes it in. Raises Retryable when a server stays away."""

    async def inspect(self, tenant: str, letter_id: str) -> dict[str, Any] | None:
        """One dead letter, its original, and the verdict on it now; None when the tenant has none of that id."""
        ...

    async def preview(self, order: DeadLetterOrder, *, limit: int, show: int) -> dict[str, Any]:
        """What a replay would do to the first `limit`, `show` of them with before and after. Writes nothing."""
        ...

    async def replay(self, order: DeadLetterOrder, actor: str, *, again: bool, limit: int) -> dict[str, Any]:
        """Replay at most `limit`, and publish the event that says so."""
        ...


@dataclass(frozen=True)
class DeadLetterOrder:
    """Which dead letters of which tenant, and how they are mended. `history`: they may be of any age."""

    selection: Selection
    patch: Patch
    history: bool = False


@dataclass(frozen=True)
class Context:
    """Everything a route may use; made once by `create_app`. `slow`: the reader for questions that may take long."""

    settings: ApiSettings
    reader: Reader
    keys: KeyStore
    publish: Publish
    packs: Mapping[str, Pack]
    clock: Clock
    dictionary: Dictionary
    ledger: LedgerReader
    metrics: MetricReader
    funnels: Funnels
    segments: SegmentReader
    coverage: CoverageReader
    slow: Reader
    dead_letters: DeadLetterDesk | None = None

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return int(self.clock.now() * 1000)


@dataclass(frozen=True)
class Caller:
    """Who asks: the key's id, tenant, role, and the taxonomy pack of the tenant."""

    key_id: str
    tenant: str
    role: Role
    pack: Pack


def context(request: Request) -> Context:
    """The context of the app that serves this request."""
    found: Context = request.app.state.context
    return found


def credential(request: Request) -> str:
    """The secret of a request: `Authorization: Bearer`, or `X-Api-Key`."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "").strip()


_bearer: Final = HTTPBearer(auto_error=False, description="A secret key; `headrace keys create` makes one.")


def caller(
    request: Request, ctx: Annotated[Context, Depends(context)], _documented: Annotated[object, Depends(_bearer)]
) -> Caller:
    """The holder of the key; 401 without a usable secret key, 403 with a write key."""
    try:
        key: Key = ctx.keys.find(credential(request), Kind.SECRET)
    except KeyRefused as refused:
        status = 403 if refused.code == "wrong_kind" else 401
        raise Problem(status, refused.code.replace("_", "-"), refused.message, headers=_CHALLENGE) from refused
    pack = ctx.packs.get(key.pack)
    if pack is None:
        detail = (
            f"the key names the pack {key.pack!r}, which is not loaded here; `headrace taxonomy list` shows them all"
        )
        raise Problem(503, "pack-not-loaded", detail)
    return Caller(key.id, key.tenant, key.role or Role.VIEWER, pack)


def at_least(role: Role) -> Callable[[Caller], Caller]:
    """A dependency that wants this role or a higher one; 403 otherwise."""

    def check(who: Annotated[Caller, Depends(caller)]) -> Caller:
        if _RANKS.index(who.role) < _RANKS.index(role):
            raise Problem(403, "role-too-low", f"this needs the role {role}; the key {who.key_id} has {who.role}")
        return who

    return check


Ctx = Annotated[Context, Depends(context)]
Who = Annotated[Caller, Depends(caller)]
Analyst = Annotated[Caller, Depends(at_least(Role.ANALYST))]
