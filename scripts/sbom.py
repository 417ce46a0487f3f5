"""Write down what Macro VPN consists of: `make sbom` makes `dist/macro_vpn-VERSION.cdx.json`, in CycloneDX 1.5.

It has every package that `uv.lock` names for an installation, on any platform and with every extra, with the digests of
its files and what it depends on, and the data of others that stand in this repository. What only developers use is not
in it. The same commit gives the same bytes: the time is the commit's, and the serial number follows from the content.

Source: https://cyclonedx.org/docs/1.5/json/
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib
import uuid
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

ROOT: Final = Path(__file__).resolve().parent.parent
DATA: Final = {"node/dashboard/map.js": "ISC", "peers/data/countries.txt": "ISC", "peers/data/places.xz": "CC-BY-4.0"}
"""What others made and a wheel has in it, with the licence. Source: peers/data/LICENSES.md"""

PARTS: Final = ("spdx", "jsf-0.82")
"""The schemas that CycloneDX 1.5's refers to."""


def commit_time(root: Path = ROOT) -> int:
    """The time of everything that is made: `SOURCE_DATE_EPOCH`, else that of the last commit, in seconds since 1970.

    Source: https://reproducible-builds.org/specs/source-date-epoch/
    """
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    return int(subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=root, capture_output=True, check=True).stdout)


def export(root: Path, *options: str) -> str:
    """What uv says of the lock, which it does not change."""
    command = [sys.executable, "-m", "uv", "export", "--frozen", "--quiet", "--offline", "--no-dev", "--all-extras"]
    return subprocess.run([*command, *options], cwd=root, capture_output=True, text=True, check=True).stdout


def sbom(root: Path, time_s: int) -> str:
    """The bill of materials of what stands in a folder.

    Args:
        root: with pyproject.toml, uv.lock and the packages.
        time_s: that it names, in seconds since 1970.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bill = json.loads(export(root, "--format", "cyclonedx1.5", "--preview-features", "sbom-export"))
    del bill["serialNumber"]
    bill["metadata"]["timestamp"] = datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    bill["metadata"]["component"] |= {
        "type": "application",
        "purl": f"pkg:pypi/{project['name']}@{project['version']}",
        "licenses": [{"expression": project["license"]}],
    }
    bill["components"] += [_data(root, name, licence) for name, licence in DATA.items()]
    content = json.dumps(bill, sort_keys=True)
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    return json.dumps(bill, indent=2, sort_keys=True) + "\n"


def _data(root: Path, name: str, licence: str) -> dict[str, Any]:
    digest = hashlib.sha256((root / name).read_bytes()).hexdigest()
    return {
        "type": "data",
        "bom-ref": name,
        "name": name,
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": [{"license": {"id": licence}}],
    }


def check(text: str) -> None:
    """Hold a bill of materials against the schema of CycloneDX 1.5.

    Raises:
        jsonschema_rs.ValidationError: it is not one; says where.
    """
    _validator().validate(json.loads(text))


@cache
def _validator() -> jsonschema_rs.Draft7Validator:
    """For the schema, which CycloneDX' Python library brings along. (Its own validator needs minutes for our lock.)"""
    folder = resources.files("cyclonedx.schema") / "_res"
    bom, *others = (
        json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text(encoding="utf-8"))
        for name in ("bom-1.5", *PARTS)
    )
    places = (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json" for name in PARTS)
    registry = jsonschema_rs.Registry(list(zip(places, others, strict=True)))
    return jsonschema_rs.Draft7Validator(bom, registry=registry, validate_formats=True)


def write(root: Path, target: Path, time_s: int) -> Path:
    """Make and check a bill of materials.

    Returns:
        Where it is in the folder `target`.
    """
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    text = sbom(root, time_s)
    check(text)
    target.mkdir(exist_ok=True)
    path = target / f"macro_vpn-{version}.cdx.json"
    path.write_text(text, encoding="utf-8")
    return path


if __name__ == "__main__":
    print(write(ROOT, ROOT / "dist", commit_time()).relative_to(ROOT))
