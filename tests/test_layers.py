"""Imports point one way, and the pure modules are pure (DESIGN sections 2 and 3)."""

import ast
import sys
from pathlib import Path

import pytest

import backchat

PACKAGE = Path(backchat.__file__).parent

# Bottom up: each imports only what stands before it.
ORDER = [
    "errors",
    "names",
    "transcript",
    "words",
    "views",
    "reports",
    "choices",
    "ops",
    "branches",
    "commands",
    "completion",
    "frames",
    "exports",
    "chatgpt",
    "openwebui",
    "portable",
    "foreign",
    "logs",
    "counts",
    "metrics",
    "backends.base",
    "backends.echo",
    "backends.thinking",
    "backends.openai",
    "store.base",
    "store.search",
    "store.sqlite",
    "store.threads",
    "outbox",
    "hub.local",
    "sessions",
    "importer",
    "upkeep",
    "registry",
    "highlighting",
    "markdown",
    "rendering",
    "runs",
    "models",
    "prompts",
    "writing",
    "connection",
    "watch",
    "config",
    "users",
    "access",
    "limits",
    "page",
    "api",
    "health",
    "app",
    "protocols",
    "server",
    "cli",
    "__main__",
]
PURE = {
    "errors",
    "names",
    "transcript",
    "words",
    "views",
    "reports",
    "choices",
    "ops",
    "branches",
    "commands",
    "completion",
    "frames",
    "exports",
    "chatgpt",
    "openwebui",
    "portable",
    "foreign",
}
WORLDLY = {
    "asyncio", "datetime", "io", "logging", "os", "pathlib", "random", "secrets", "socket", "sqlite3", "subprocess",
    "sys", "threading", "time", "uuid",
}  # fmt: skip


def imported(module: str) -> set[str]:
    """The full names of everything that a module imports, functions' own imports included."""
    tree = ast.parse((PACKAGE / (module.replace(".", "/") + ".py")).read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            if node.module in ("backchat", "backchat.store", "backchat.hub", "backchat.backends"):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
            else:
                names.add(node.module)
    return names


def test_every_module_has_its_place_in_the_order() -> None:
    files = {
        str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".")
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert files == set(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_what_stands_before_it(module: str) -> None:
    ours = {name.removeprefix("backchat.") for name in imported(module) if name.startswith("backchat.")}
    ours.discard("__version__")
    assert ours <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_imports_only_pure_modules_the_standard_library_and_msgspec(module: str) -> None:
    names = imported(module)
    ours = {name.removeprefix("backchat.") for name in names if name.startswith("backchat.")}
    others = {name.split(".")[0] for name in names if not name.startswith("backchat.")}
    assert ours <= PURE
    assert others <= set(sys.stdlib_module_names) | {"msgspec"}
    assert not others & WORLDLY
