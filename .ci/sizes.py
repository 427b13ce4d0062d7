"""Fail where a file or a function of the package is too long to be read in one go."""

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "skdcec"
MAX_MODULE = 600  # lines
MAX_FUNCTION = 60  # lines of code, without signature, docstring, comments and blank lines
MAX_SCRIPT = 400  # lines

LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(source: str, tree: ast.Module) -> set[int]:
    """Return the numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            lines -= _lines_of(node.body[0])
    return lines


def functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, set]]:
    """Yield each function, nested ones too, and the lines of its body."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node, set().union(*map(_lines_of, node.body))


def _lines_of(statement: ast.stmt) -> set[int]:
    decorators = getattr(statement, "decorator_list", [])
    start = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    return set(range(start, statement.end_lineno + 1))


def too_long(package: Path) -> Iterator[str]:
    """Yield a line of text for all that is too long."""
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.js")]):
        name = path.relative_to(package.parent)
        source = path.read_text(encoding="utf-8")
        length, limit = source.count("\n"), MAX_SCRIPT if path.suffix == ".js" else MAX_MODULE
        if length > limit:
            yield f"{name}: {length} lines, at most {limit} are allowed"
        if path.suffix == ".js":
            continue
        tree = ast.parse(source, path)
        code = code_lines(source, tree)
        for function, body in functions(tree):
            if (length := len(code & body)) > MAX_FUNCTION:
                yield (
                    f"{name}:{function.lineno}: {function.name} has {length} lines of code, "
                    f"at most {MAX_FUNCTION} are allowed"
                )


if __name__ == "__main__":
    found = [*too_long(PACKAGE)]
    print("\n".join(found) or "No file and no function is too long.")
    sys.exit(bool(found))
