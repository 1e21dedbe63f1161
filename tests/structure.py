"""How the code is built, in numbers: `python tests/structure.py [FOLDER ...]`, a column a folder.

The same counts hold the budgets of tests/test_architecture.py. Give it two checkouts to compare.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONG_FILE = 350
LONG_FUNCTION = 50
MANY_PARAMETERS = 6
WIDE_LINE = 100
DOORS = {
    ("api.py", "fit"),
    ("api.py", "track"),
    ("api.py", "render"),
    ("fitted.py", "track"),
    ("clip.py", "generate"),
}
"""Functions that users call: options that are given by name may be more than `MANY_PARAMETERS`."""
LEAF_CONTEXT = (ast.Load, ast.Store, ast.Del)
"""Nodes that say how a name is used, and stand for no word of the code."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of a package."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def lines(self) -> list[str]:
        """The lines of the file."""
        return self.text.splitlines()

    def functions(self) -> Iterator[Function]:
        """All functions and methods, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def modules(folder: Path) -> list[Module]:
    """The files of the package in a checkout."""
    files = sorted((folder / "dinotrack").rglob("*.py"))
    texts = [(file, file.read_text(encoding="utf-8")) for file in files]
    return [Module(file, text, ast.parse(text)) for file, text in texts]


def code_lines(module: Module) -> int:
    """Lines that hold code: neither blank, nor a comment, nor part of a docstring alone."""
    prose = {
        line
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    skipped = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    held = {
        line
        for token in tokens
        if token.type not in skipped
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(held - prose)


def nodes(module: Module) -> int:
    """Nodes of the syntax tree: how much there is to understand."""
    return sum(not isinstance(node, LEAF_CONTEXT) for node in ast.walk(module.tree))


def length(function: Function) -> int:
    """Lines from `def` to the end, decorators not counted."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def parameters(module: Module, function: Function) -> int:
    """Parameters without self and cls, and without the options of a door."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    count = len(names) - (names[:1] in (["self"], ["cls"]))
    if (module.path.name, function.name) in DOORS:
        return count
    return count + len(function.args.kwonlyargs)


def is_kernel(function: Function) -> bool:
    """Whether a function is Triton's, which has no structures to put parameters into."""
    return any(isinstance(mark, ast.Name) and mark.id == "jit" for mark in function.decorator_list)


def is_autograd(function: Function) -> bool:
    """Whether torch prescribes the parameters of a function: those of an autograd.Function."""
    return [argument.arg for argument in function.args.args[:1]] == ["ctx"]


def is_prescribed(function: Function) -> bool:
    """Whether others say which parameters a function has."""
    return is_kernel(function) or is_autograd(function)


def annotations(module: Module) -> Iterator[ast.expr]:
    """Types of parameters, results and fields."""
    for node in ast.walk(module.tree):
        if isinstance(node, Function) and node.returns is not None:
            yield node.returns
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation


def is_text(node: ast.expr) -> bool:
    """Whether a part of a type is text, as shapes are."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def bare_tensors(annotation: ast.expr) -> int:
    """How often a type says Tensor and no shape."""
    shaped = {
        id(part)
        for node in ast.walk(annotation)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple)
        if any(is_text(word) for word in node.slice.elts)
        for part in ast.walk(node.slice)
    }
    names = (node for node in ast.walk(annotation) if isinstance(node, ast.Name))
    return sum(name.id == "Tensor" and id(name) not in shaped for name in names)


def takes_grid_beside(function: Function, what: tuple[str, ...]) -> bool:
    """Whether a grid and something on it, told by the start of its name, come as two parameters."""
    names = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
    has_grid = any(name == "grid" or name.endswith("_grid") for name in names)
    return has_grid and any(name.startswith(what) for name in names)


def takes_maps_and_grid(function: Function) -> bool:
    """Whether feature maps and their grid come apart, although `FeatureMaps` holds them both."""
    return takes_grid_beside(function, ("maps", "features"))


def takes_correlation_and_grid(function: Function) -> bool:
    """Whether correlation maps and their grid come apart: as yet, no value holds them both."""
    return takes_grid_beside(function, ("correlation", "cosine", "score"))


def fan_out(module: Module) -> int:
    """How many modules of the package one module imports from."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dinotrack"):
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if (node.module == "dinotrack")
                else {node.module}
            )
    return len(found)


def measure(folder: Path) -> dict[str, float]:
    """Every figure, by its name."""
    package = modules(folder)
    functions = [function for module in package for function in module.functions()]
    own = [(m, f) for m in package for f in m.functions() if not is_prescribed(f)]
    all_nodes = sum(nodes(module) for module in package)
    all_lines = sum(len(module.lines) for module in package)
    all_code = sum(code_lines(module) for module in package)
    pipeline = next(m for m in package if m.path.name == "pipeline.py")
    types = [annotation for module in package for annotation in annotations(module)]
    return {
        "files": len(package),
        "lines": all_lines,
        "lines of code": all_code,
        "functions": len(functions),
        "nodes a line": round(all_nodes / all_lines, 2),
        "nodes a line of code": round(all_nodes / all_code, 2),
        f"files over {LONG_FILE} lines": sum(len(m.lines) > LONG_FILE for m in package),
        f"functions over {LONG_FUNCTION} lines": sum(length(f) > LONG_FUNCTION for f in functions),
        f"functions over {MANY_PARAMETERS} parameters": sum(
            parameters(m, f) > MANY_PARAMETERS for m, f in own
        ),
        f"lines over {WIDE_LINE} columns": sum(
            len(line) > WIDE_LINE for module in package for line in module.lines
        ),
        "modules that pipeline.py imports": fan_out(pipeline),
        "signatures of maps and grid": sum(takes_maps_and_grid(f) for f in functions),
        "signatures of correlation and grid": sum(takes_correlation_and_grid(f) for f in functions),
        "types that say Tensor without a shape": sum(bare_tensors(t) for t in types),
    }


def main() -> None:
    """Print a table, a column for each checkout."""
    folders = [Path(name) for name in sys.argv[1:]] or [Path(__file__).resolve().parent.parent]
    columns = [measure(folder) for folder in folders]
    for name in columns[0]:
        print(f"{name:<40}" + "".join(f"{column[name]:>10g}" for column in columns))


if __name__ == "__main__":
    main()
