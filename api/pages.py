"""Pages for people: the dashboard at `/`, and `/docs`, both without anything from other servers."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_HASHED: Final = re.compile(r"[-.][A-Za-z0-9_]{8,}\.\w+$")
_FOREVER: Final = "public, max-age=31536000, immutable"
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "code{font-family:ui-monospace,monospace}table{border-collapse:collapse;width:100%}td,th{text-align:left;"
    "vertical-align:top;padding:.2rem .8rem .2rem 0}section{border-top:1px solid #8884;padding:.5rem 0}"
    "h2{font-size:1.05rem;margin:.5rem 0}"
)
_NOT_BUILT: Final = """<h1>Headrace is running, without its dashboard</h1>
<p>The pages have not been built. Run <code>make setup</code> in the project's folder and start again; a wheel brings
them along. Everything else works: see <a href="/docs">the API</a>, <a href="/health/ready">readiness</a> and
<a href="/metrics">self-metrics</a>.</p>"""


class Dashboard(StaticFiles):
    """Built files: those with a hash in their name for ever, the rest asked again each time."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = _FOREVER if _HASHED.search(path) else "no-cache"
        return answer


def install(app: FastAPI, static_dir: Path) -> None:
    """Serve `/docs` and `/`; call it last, because the dashboard takes every path that is left."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_page("The API of Headrace", docs_html(app.openapi())))

    if (static_dir / "index.html").is_file():
        app.mount("/", Dashboard(directory=static_dir, html=True), name="dashboard")
        return

    @app.get("/", include_in_schema=False)
    async def not_built() -> HTMLResponse:
        return HTMLResponse(_page("Headrace", _NOT_BUILT), headers={"Cache-Control": "no-cache"})


def docs_html(openapi: dict[str, Any]) -> str:
    """Every operation of an OpenAPI document as plain HTML."""
    parts = [
        "<h1>The API of Headrace</h1><p>Send <code>Authorization: Bearer SECRET_KEY</code>. Errors are "
        '<code>application/problem+json</code>. For tools: <a href="/openapi.json">openapi.json</a>.</p>'
    ]
    for path, operations in openapi["paths"].items():
        parts += [_operation(path, method, operation) for method, operation in operations.items()]
    return "".join(parts)


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{escape(_type(parameter.get('schema', {})))}</td>"
        f"<td>{escape(parameter.get('description') or '')}</td></tr>"
        for parameter in operation.get("parameters", ())
    )
    table = f"<table>{rows}</table>" if rows else ""
    return (
        f"<section><h2><code>{escape(method.upper())} {escape(path)}</code> {escape(operation.get('summary', ''))}</h2>"
        f"<p>{escape(operation.get('description', ''))}</p>{table}</section>"
    )


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    return str(schema.get("type", ""))


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><main>{body}</main></html>"
    )
