"""The rules of this house that no common linter knows, each as a function from a syntax tree to broken lines.

A rule's docstring says which bug it prevents. Where a rule does not apply is said beside it in `RULES`.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
Check = Callable[[ast.Module], Iterator[int]]

_CATALOGUE = (ROOT / "lattice" / "contracts" / "catalogue.py").read_text()
_FIRST_TOKENS = {"alert", "metrics", *re.findall(r"\"lattice\.(\w+)\.", _CATALOGUE)}
_SUBJECT = re.compile(rf"^lattice\.({'|'.join(sorted(_FIRST_TOKENS))})\.")
_SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
_CHANCE = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "date.today",
    "datetime.date.today",
    "os.urandom",
    "uuid.uuid1",
    "uuid.uuid4",
    "uuid1",
    "uuid4",
}
_CHANCE_MODULES = {"random", "secrets", "time"}


def nats_import(tree: ast.Module) -> Iterator[int]:
    """The client gives up after 60 tries and closes for good on some errors; only the bus knows how to live
    with it.

    A second importer would be a connection that nobody supervises.
    """
    return _imports_of("nats", tree)


def aiodocker_import(tree: ast.Module) -> Iterator[int]:
    """Container options are checked in the runtime; a second way to the Engine would go round the allow-list."""
    return _imports_of("aiodocker", tree)


def prometheus_import(tree: ast.Module) -> Iterator[int]:
    """A metric that is made past its declaration is in no document, on no dashboard, and is refused when it arrives."""
    return _imports_of("prometheus_client", tree)


def subject_literal(tree: ast.Module) -> Iterator[int]:
    """A subject spelled by hand drifts from the permissions made for it: published, refused, noticed by nobody."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) not in docstrings and _SUBJECT.match(_text(node)):
            yield _line(node)


def environment_read(tree: ast.Module) -> Iterator[int]:
    """A setting read where it is used cannot be seen, checked at start, or changed by a test."""
    for node in ast.walk(tree):
        if _name(node) in {"os.environ", "os.environb", "os.getenv"}:
            yield _line(node)
        if _imported_from("os", node) & {"environ", "environb", "getenv"}:
            yield _line(node)


def shell(tree: ast.Module) -> Iterator[int]:
    """Through a shell, a name with a quote or a semicolon in it becomes a command on somebody's machine."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _name(node.func)
        if name in _SHELLS or name.endswith("create_subprocess_shell") or _asks_for_shell(node):
            yield node.lineno


def sleep_in_unit_test(tree: ast.Module) -> Iterator[int]:
    """A test that waits by the clock is slow on a fast machine and fails on a slow one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) == "time.sleep":
            yield node.lineno
        if "sleep" in _imported_from("time", node):
            yield _line(node)


def skipped_test(tree: ast.Module) -> Iterator[int]:
    """A skipped test is counted as fine while it says nothing; missing services are named by the fixtures alone."""
    for node in ast.walk(tree):
        if re.fullmatch(r"pytest\.(skip|xfail|importorskip|mark\.(skip|skipif|xfail))", _name(node)):
            yield _line(node)


def chance_in_decision(tree: ast.Module) -> Iterator[int]:
    """A decision that looks at the clock or at chance cannot be replayed, explained or simulated."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in _CHANCE:
            yield node.lineno
    for module in _CHANCE_MODULES:
        yield from _imports_of(module, tree)


@dataclass(frozen=True)
class Rule:
    """A check, the folders it holds for, and the files that are allowed to break it."""

    check: Check
    folders: tuple[str, ...]
    except_for: str = r"(?!)"

    def files(self) -> Iterator[Path]:
        """The files the rule holds for."""
        for folder in self.folders:
            for path in sorted((ROOT / folder).rglob("*.py")):
                if not re.fullmatch(self.except_for, path.relative_to(ROOT).as_posix()):
                    yield path

    def broken(self) -> list[str]:
        """Every breach as `path:line`."""
        return [
            f"{path.relative_to(ROOT)}:{line}" for path in self.files() for line in self.check(_tree(path))
        ]


@dataclass(frozen=True)
class PureRule(Rule):
    """A rule for the modules that pyproject.toml declares pure."""

    def files(self) -> Iterator[Path]:
        """The files of the declared modules."""
        for module in pure_modules():
            path = ROOT / module.replace(".", "/")
            yield path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def pure_modules() -> list[str]:
    """The modules that decide from their arguments alone, as import-linter has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(list(c["source_modules"]) for c in contracts if c["name"].startswith("Pure modules"))


_PRODUCT = ("lattice", "services", "agent", "cli", "standalone", "dashboards")
_EVERYTHING = (*_PRODUCT, "infra", "bench", "tests")
RULES = (
    Rule(nats_import, _PRODUCT, except_for=r"lattice/bus(_\w+)?\.py"),
    Rule(aiodocker_import, _PRODUCT, except_for=r"agent/docker_runtime(_\w+)?\.py"),
    Rule(prometheus_import, _PRODUCT, except_for=r"lattice/metrics/instruments\.py"),
    Rule(subject_literal, (*_PRODUCT, "infra"), except_for=r"lattice/contracts/.*"),
    Rule(environment_read, (*_PRODUCT, "infra", "bench"), except_for=r"(.*/)?settings\.py|infra/setup/.*"),
    Rule(shell, _EVERYTHING),
    # test_process sends signals to a real child and polls for it with a deadline, there is no clock to turn.
    Rule(sleep_in_unit_test, ("tests/unit",), except_for=r"tests/unit/test_process\.py"),
    Rule(skipped_test, ("tests",), except_for=r"tests/fixtures/.*"),
    PureRule(chance_in_decision, ()),
)


def usages_of_declared() -> set[tuple[str, str]]:
    """Each `area.NAME` of a declared metric that the product names outside the declarations."""
    files = [path for folder in _PRODUCT for path in (ROOT / folder).rglob("*.py")]
    naming = (
        path
        for path in files
        if "metrics.declared import" in path.read_text() and "declared" not in path.parts
    )
    return {usage for path in naming for usage in _declared_in(_tree(path))}


def _declared_in(tree: ast.Module) -> Iterator[tuple[str, str]]:
    areas = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "lattice.metrics.declared"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in areas:
            yield areas[node.value.id], node.attr


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _imports_of(package: str, tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        if any(name == package or name.startswith(f"{package}.") for name in names):
            yield node.lineno


def _imported_from(module: str, node: ast.AST) -> set[str]:
    """The names that a `from module import …` brings."""
    if isinstance(node, ast.ImportFrom) and node.module == module:
        return {alias.name for alias in node.names}
    return set()


def _asks_for_shell(call: ast.Call) -> bool:
    return any(
        keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
        for keyword in call.keywords
    )


def _name(node: ast.AST) -> str:
    """The dotted name a node spells, or an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (head := _name(node.value)):
        return f"{head}.{node.attr}"
    return ""


def _text(node: ast.AST) -> str:
    """The string a node is, or an empty one."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))
