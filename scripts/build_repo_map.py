"""Write .docs/repo_map.json: every module, class and function under src/ with the first line of its docstring."""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Symbol:
    """A class or function: its signature, the line it starts on, what it is for, and what it contains."""

    name: str
    kind: str
    line: int
    signature: str
    summary: str
    members: list[Symbol] = field(default_factory=list)


@dataclass
class Module:
    """A module: where it is, its dotted name, its length, what it is for, which modules of ours it imports."""

    path: str
    name: str
    lines: int
    summary: str
    imports: list[str]
    symbols: list[Symbol]


def read_module(path: Path, source: Path) -> Module:
    """Read one module below the folder `source`; SyntaxError when it is not Python."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, filename=str(path))
    parts = path.relative_to(source).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    ours = {folder.name for folder in source.iterdir() if folder.is_dir()}
    return Module(
        path=str(path.relative_to(source.parent)),
        name=name,
        lines=text.count("\n"),
        summary=_summary(tree),
        imports=sorted({found for found in _imports(tree) if found.split(".")[0] in ours}),
        symbols=list(_symbols(tree)),
    )


def _summary(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _symbols(node: ast.Module | ast.ClassDef) -> Iterator[Symbol]:
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            bases = f"({', '.join(ast.unparse(base) for base in child.bases)})" if child.bases else ""
            members = list(_symbols(child))
            yield Symbol(child.name, "class", child.lineno, f"{child.name}{bases}", _summary(child), members)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            result = f" -> {ast.unparse(child.returns)}" if child.returns else ""
            signature = f"{child.name}({ast.unparse(child.args)}){result}"
            kind = "async function" if isinstance(child, ast.AsyncFunctionDef) else "function"
            yield Symbol(child.name, kind, child.lineno, signature, _summary(child))


def main() -> None:
    """Write the map and say how much it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=ROOT / "src")
    parser.add_argument("--output", type=Path, default=ROOT / ".docs" / "repo_map.json")
    arguments = parser.parse_args()
    source = arguments.source.resolve()
    modules = [read_module(path, source) for path in sorted(source.rglob("*.py"))]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(
        json.dumps({"modules": [asdict(module) for module in modules]}, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    symbols = sum(len(module.symbols) for module in modules)
    print(f"wrote {arguments.output}: {len(modules)} modules, {symbols} classes and functions")


if __name__ == "__main__":
    main()
