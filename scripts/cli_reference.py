"""Write facedex/cli/README.md, the reference of the command line, from the commands themselves.

    python -m scripts.cli_reference

A test fails when the file differs from what this script writes.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from typer.main import get_command

from facedex.cli import COMMANDS, application
from facedex.cli.exit_codes import EVERY_COMMAND, EXIT_CODES
from facedex.cli.json_fields import JSON_OBJECTS

FOLDER = Path(__file__).parents[1] / "facedex" / "cli"
README = FOLDER / "README.md"

# The names of types differ between the versions of typer.
TYPES = {
    "bool": "flag",
    "boolean": "flag",
    "datetime": "date",
    "float": "number",
    "int": "integer",
    "integer": "integer",
    "path": "path",
    "str": "text",
    "text": "text",
}

INTRODUCTION = """\
# facedex/cli: the command line

This folder holds the commands: each parses its arguments, calls the library and prints.
`python -m scripts.cli_reference` writes this file from the code. Change the code, not the file.

{modules}

## For contributors

- Results go to stdout, everything else to stderr.
- A command raises FacedexError for what it cannot use. `endings.py` prints it in one line and exits with code 2.
- Commands import the library inside their functions, so that `--help` answers at once.
- A new command is a function in a module `*_commands.py`, an entry in `COMMANDS` (`__init__.py`), in `exit_codes.py`
  and, with `--json`, in `json_fields.py` and `facedex/json_shapes.py`.
- A released JSON field is not removed and keeps its meaning. New fields may be added.

## What all commands share

`--json` prints one object a line. `identify`, `detect`, `enroll` and `doctor` print each object as soon as it is known.
`null` stands for a value that does not exist or could not be measured. Rates and probabilities are numbers from 0 to 1.
In the tables of fields `a.b` is field b of object a. `a[].b` is field b of each object in list a. `a.*` stands for
fields whose names vary.

`--csv` is for spreadsheets. A text that begins with `=`, `+`, `-`, `@` or a tab has an apostrophe in front, so that no
spreadsheet takes it for a formula. Control characters in file names are written as escapes, `\\x1b` for example. In
tables and notices they are, too. `--json` gives every name and path exactly.

Exit codes of every command:

{exit_codes}

"""


def main() -> None:
    """Write the file."""
    README.write_text(reference(), "utf-8")


def reference() -> str:
    """The text of the reference."""
    modules = _table(("module", "what it is for"), [(f"`{path.name}`", _first_line(path)) for path in _modules()])
    text = INTRODUCTION.format(modules=modules, exit_codes=_exit_codes(EVERY_COMMAND))
    commands = get_command(application()).commands  # type: ignore[attr-defined]
    return text + "\n".join(_section(name, commands[name]) for name in COMMANDS)


def _modules() -> list[Path]:
    return sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")


def _first_line(module: Path) -> str:
    """The first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
    return docstring.splitlines()[0]


def _section(name: str, command: Any) -> str:
    """The section of one command."""
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    usage = " ".join(["facedex", name, *map(_argument_usage, arguments)])
    parts = [f"## {name}", f"`{usage}`", inspect.cleandoc(command.help)]
    if arguments:
        rows = [(f"`{argument.name.upper()}`", _type(argument), argument.help or "") for argument in arguments]
        parts.append(_table(("argument", "type", "meaning"), rows))
    option_rows = [(_names(option), _type(option), _default(option), option.help) for option in options]
    parts.append(_table(("option", "type", "default", "meaning"), option_rows))
    parts.append("Exit codes:\n\n" + _exit_codes(EXIT_CODES[name]))
    for about, shape in JSON_OBJECTS.get(name, {}).items():
        fields = [(f"`{field}`", meaning) for field, meaning in shape.fields().items()]
        parts.append(f"JSON, one object for {about}:")
        parts.append(_table(("field", "meaning"), fields))
    return "\n\n".join(parts) + "\n"


def _argument_usage(argument: Any) -> str:
    return f"{argument.name.upper()}..." if argument.nargs == -1 else str(argument.name.upper())


def _names(option: Any) -> str:
    """The option's spellings, long ones first."""
    return ", ".join(f"`{name}`" for name in sorted([*option.opts, *option.secondary_opts], key=len, reverse=True))


def _type(parameter: Any) -> str:
    """The type in plain words, with the limits of a number."""
    kind = parameter.type
    name = TYPES[kind.name.removesuffix(" range")]
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    if low is not None:
        name += f" from {low}" + ("" if high is None else f" to {high}")
    repeated = parameter.nargs == -1 or getattr(parameter, "multiple", False)
    return f"{name}, repeatable" if repeated else name


def _default(option: Any) -> str:
    """The value of an option that is not given, and the environment variable that sets it."""
    if option.required:
        return "required"
    if option.secondary_opts:
        default = f"`{(option.opts if option.default else option.secondary_opts)[0]}`"
    elif _type(option) == "flag":
        default = "off"
    else:
        default = "none" if option.default is None else f"`{option.default}`"
    return f"`{option.envvar}`, else {default}" if option.envvar else default


def _exit_codes(codes: dict[int, str]) -> str:
    return _table(("code", "meaning"), [(str(code), meaning) for code, meaning in codes.items()])


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    main()
