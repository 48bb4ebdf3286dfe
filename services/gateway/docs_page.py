"""The reference for people at `/docs`: one page of plain HTML made from the OpenAPI document, without scripts or anything from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from lattice.errors import LatticeError
from services.gateway.policy import Scope

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}


_FIRST_REQUEST = escape(
    'curl --cacert ca.pem -H "Authorization: Bearer $LATTICE_TOKEN" "$LATTICE_URL/v1/workloads"'
)


@dataclass(frozen=True, slots=True)
class Reference:
    """What is told about this API: the document for programs, the page for people and how it looks."""

    document: str
    page: str
    style: str


def style() -> str:
    """How the page looks."""
    return files("services.gateway").joinpath("assets/docs.css").read_text()


def page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    return "".join(_page(document))


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    groups = _by_tag(document)
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(info['title'])} REST API</title>"
    yield '<link rel="stylesheet" href="/docs/style.css"></head><body><main>'
    yield f"<h1>{escape(info['title'])} REST API {escape(info['version'])}</h1><p>{escape(info['description'])} "
    yield 'The same for programs: <a href="/openapi.json">openapi.json</a>.</p>'
    yield f"<p>A first request, with a token of <code>lattice token create</code>:</p><pre>{_FIRST_REQUEST}</pre><nav><ul>"
    yield from (f'<li><a href="#{_anchor(tag)}">{escape(tag)}</a></li>' for tag in groups)
    yield '<li><a href="#errors">errors</a></li><li><a href="#shapes">shapes</a></li></ul></nav>'
    for tag, operations in groups.items():
        yield f'<section><h2 id="{_anchor(tag)}">{escape(tag)}</h2>'
        for method, path, operation in operations:
            yield from _operation(method, path, operation)
        yield "</section>"
    yield from _errors()
    yield from _shapes(document["components"]["schemas"])
    yield "</main></body></html>"


Operation = tuple[str, str, Mapping[str, Any]]


def _by_tag(document: Mapping[str, Any]) -> dict[str, list[Operation]]:
    groups: dict[str, list[Operation]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation.get("tags", ["other"])[0], []).append((method, path, operation))
    return groups


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<article id="{_anchor(method + path)}"><h3><span class="method {method}">{method.upper()}</span>'
    yield f"<code>{escape(path)}</code></h3><p>{escape(operation.get('description', ''))}</p>"
    yield f'<p class="right">{escape(_right(operation["x-lattice-right"]))}</p>'
    if operation.get("parameters"):
        yield "<table><thead><tr><th>parameter</th><th>in</th><th>what</th></tr></thead><tbody>"
        yield from map(_parameter, operation["parameters"])
        yield "</tbody></table>"
    yield "<details><summary>body and answers</summary><table><tbody>"
    if "requestBody" in operation:
        yield f"<tr><td>body</td><td></td><td>{_content(operation['requestBody'])}</td></tr>"
    for status, response in operation["responses"].items():
        yield f"<tr><td>{escape(status)}</td><td>{escape(response['description'])}</td><td>{_content(response)}</td></tr>"
    yield "</tbody></table></details></article>"


def _right(right: Mapping[str, Any]) -> str:
    """Who may, as a sentence: some scopes name people, the others what the role is held over."""
    if right["over"] == Scope.PUBLIC.value:
        return "For everybody: nobody needs to be signed in."
    if right["over"] == Scope.SIGNED_IN.value:
        return f"For {right['over']}."
    return f"Needs the role {right['role']} over {right['over']}."


def _parameter(parameter: Mapping[str, Any]) -> str:
    name = escape(parameter["name"]) + ("" if parameter.get("required") else " (optional)")
    return (
        f"<tr><td><code>{name}</code></td><td>{escape(parameter['in'])}</td>"
        f"<td>{escape(parameter.get('description', ''))}</td></tr>"
    )


def _content(holder: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{escape(media)} {_schema(content.get('schema', {}))}"
        for media, content in holder.get("content", {}).items()
    )


def _schema(schema: Mapping[str, Any]) -> str:
    reference = schema.get("$ref")
    if reference is None:
        return ""
    name = reference.rsplit("/", 1)[1]
    return f'<a href="#shape-{escape(name)}">{escape(name)}</a>'


def _errors() -> Iterator[str]:
    yield '<section><h2 id="errors">errors</h2><table><tbody>'
    for error in _tree(LatticeError):
        words = escape((error.__doc__ or "").split("\n\n")[0])
        yield f'<tr id="error-{error.code}"><td><code>{error.code}</code></td><td>{error.status}</td><td>{words}</td></tr>'
    yield "</tbody></table></section>"


def _shapes(schemas: Mapping[str, Any]) -> Iterator[str]:
    yield '<section><h2 id="shapes">shapes</h2>'
    for name, schema in sorted(schemas.items()):
        yield f'<article id="shape-{escape(name)}"><h3>{escape(name)}</h3><p>{escape(schema.get("description", ""))}</p>'
        yield f"<details><summary>schema</summary><pre>{escape(json.dumps(schema, indent=1))}</pre></details></article>"
    yield "</section>"


def _anchor(text: str) -> str:
    return escape("".join(char if char.isalnum() else "-" for char in text))


def _tree(root: type[LatticeError]) -> Iterator[type[LatticeError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
