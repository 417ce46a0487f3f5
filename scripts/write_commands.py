"""Write `docs/commands.md` and `node/schemas/` out of the commands themselves: `python -m scripts.write_commands`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli import cli
from node.cli_answers import ANSWERS, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "commands.md"
SCHEMAS: Final = ROOT / "node" / "schemas"
_REF: Final = "#/$defs/"
_COMMON: Final = frozenset({"home", "network", "as_json"})
_ELSEWHERE: Final = frozenset({"SettingValues", "SettingSources"})
"""Objects with a key for each setting, which docs/settings.md lists."""

_HEAD: Final = """\
# Commands

`macrovpn COMMAND --help` says what stands here, and there is no manual page. `eval "$(macrovpn completion bash)"` (or
`zsh`; for fish `macrovpn completion fish | source`) completes commands, options and values with Tab.

**Exit codes**: 0 done; 1 failed, with the reason on standard error; 2 wrong usage, which no other node and no other day
would make right. A node in the foreground ends with 0 when it was told to stop.

**`--json`** prints one object on one line of standard output, in ASCII; where a command goes on, one object a line.
When a command fails, standard output is empty and the reason stands on standard error, as text, with `--json` too
(`doctor` alone fails because of what it has found, and prints that first). Progress and questions are on standard
error. Keys stay; new ones may come. The schemas (JSON Schema 2020-12) are in `node/schemas/`, and tests hold every
answer against them. Amounts are whole units, of which 1,000,000 are a coin; a time ends in `_s` or `_ms`.

**Which node**: `--home DIR`, else the environment's `MACROVPN_HOME`, else the platform's data folder. `--network NAME`
means the node of a private network that was joined in that home. These three options stand behind the last word of a
command. Their rows are left out below; where a usage names no `OPTIONS` row, there is nothing else.

**Waiting**: a command that takes more than a second says on what it waits. Answers of a node are waited for during 5 s;
5 s more while it starts; 30 s where it changes rules or settings or is switched; 35 s for `hop`; 310 s where a chain
has to settle (`wallet`); 30 s for `up`, 90 s for `demo`; `down` for as long as it says, and 20 s.

This page is written by `python -m scripts.write_commands`.
"""


def leaves(command: click.Command = cli, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Name every command that does something, by its words after `macrovpn`."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield " ".join(words), command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from leaves(child, (*words, name))


def schema_file(command: str) -> Path:
    """Name the file with the schema of a command's answer."""
    return SCHEMAS / f"{command.replace(' ', '-')}.json"


def schema_text(command: str) -> str:
    """Write that file."""
    return json.dumps(schema_of(command), indent=1, ensure_ascii=False) + "\n"


def document() -> str:
    """Write the page."""
    objects: dict[str, dict[str, Any]] = {}
    parts = [_HEAD]
    for name, command in leaves():
        parts += _command(name, command, objects)
    parts.append("\n## Objects\n\nParts of answers.\n")
    linked = {name for name in objects if any(_link(name) in part for part in parts)}
    for name in sorted(_with_theirs(linked, objects)):
        parts += [f"\n### {name}\n\n{objects[name]['description']}\n\n", *_keys(objects[name])]
    return "".join(parts)


def _with_theirs(names: set[str], objects: dict[str, dict[str, Any]]) -> set[str]:
    """Those objects, and all that they have parts of."""
    more = {
        name for name in objects if any(_link(name) in row for other in names for row in _keys(objects[other]))
    } - names
    return _with_theirs(names | more, objects) if more else names


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _command(name: str, command: click.Command, objects: dict[str, dict[str, Any]]) -> Iterator[str]:
    context = click.Context(command, info_name=f"macrovpn {name}", terminal_width=10_000)
    yield f"\n## macrovpn {name}\n\n`{command.get_usage(context).removeprefix('Usage: ')}`\n\n{_help(command)}\n"
    options = [option for option in command.params if isinstance(option, click.Option) and option.name not in _COMMON]
    if options:
        yield "\n| option | what |\n|---|---|\n"
    for option in options:
        record = option.get_help_record(context)
        assert record is not None
        yield f"| `{_cell(record[0])}` | {_cell(_tidy(record[1]))} |\n"
    schema = schema_of(name)
    objects |= {key: shape for key, shape in schema["$defs"].items() if key not in _ELSEWHERE}
    said: dict[str, Any] = {}
    for answer, kind in zip(ANSWERS[name], schema.get("anyOf", [schema]), strict=True):
        shape = schema["$defs"][kind["$ref"].removeprefix(_REF)]
        how = f", {answer.when}" if answer.when else ""
        yield f"\n`--json`{how}: {shape['description']}"
        more = {key: kind for key, kind in shape["properties"].items() if said.get(key) != kind}
        same = said and said.items() <= shape["properties"].items()
        yield " All keys above, and:\n\n" if same else "\n\n"
        yield from _keys(shape | {"properties": more} if same else shape)
        said = shape["properties"]


def _help(command: click.Command) -> str:
    paragraphs = re.sub(r"\n\n\b\n", "\n\n\b", command.help or "").split("\n\n")
    return "\n\n".join(
        f"```\n{text.lstrip(chr(8)).strip()}\n```" if text.startswith("\b") else " ".join(text.split())
        for text in paragraphs
    )


def _tidy(text: str) -> str:
    """Write a default that is words as words."""
    return re.sub(r"\[default: \(([^)]*)\)", r"[default: \1", text)


def _keys(shape: dict[str, Any]) -> Iterator[str]:
    needed = shape.get("required", [])
    yield "| key | type | what |\n|---|---|---|\n"
    for key, kind in shape["properties"].items():
        optional = "" if key in needed else ", may be missing"
        yield f"| `{key}` | {_cell(_type(kind))}{optional} | {_cell(kind.get('description', ''))} |\n"


def _type(kind: dict[str, Any]) -> str:
    """Say in words what a JSON value is."""
    if "$ref" in kind:
        name = kind["$ref"].removeprefix(_REF)
        return "object, a key for each setting" if name in _ELSEWHERE else _link(name)
    if "anyOf" in kind:
        return " or ".join(dict.fromkeys(map(_type, kind["anyOf"])))
    if "enum" in kind:
        return " or ".join(f"`{value}`" if value else "empty" for value in kind["enum"])
    match kind["type"]:
        case "array":
            return f"list of {_type(kind['items'])}"
        case "object":
            return f"object of {_type(kind['additionalProperties'])}"
        case word:
            return str(word)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    SCHEMAS.mkdir(exist_ok=True)
    for stale in set(SCHEMAS.glob("*.json")) - {schema_file(command) for command in ANSWERS}:
        stale.unlink()
    for command in ANSWERS:
        schema_file(command).write_text(schema_text(command), encoding="utf-8")
    PAGE.write_text(document(), encoding="utf-8")
