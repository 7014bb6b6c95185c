"""Older versions of a settings document, made what the newest one is, one version at a time (U3).

A step gets a document as JSON gives it, of its version and otherwise unchecked, and must refuse what it
cannot carry over: what it left out would be lost without a word. What it hands on is validated as any is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from livermore_dagster.accounts.settings_document import DOCUMENT_VERSION
from livermore_dagster.errors import SettingsRefused

__all__ = ["STEPS", "migrated"]

Document = dict[str, Any]
_LONGEST_SHOWN: Final = 32


def migrated(text: str) -> str:
    """The document in its newest version; as it came where it is of that version, or says none.

    Raises SettingsRefused for a version that is newer than this program or never was, and for an older
    document that does not hold together. What is no JSON object is left to validation.
    """
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(whole, dict):
        return text
    version = whole.get("version", DOCUMENT_VERSION)
    if version == DOCUMENT_VERSION and type(version) is int:
        return text
    if type(version) is not int or version not in STEPS:
        newer = type(version) is int and version > DOCUMENT_VERSION
        rule = (
            f"this program knows versions up to {DOCUMENT_VERSION}: bring it up to date first"
            if newer
            else f"there are versions 1 to {DOCUMENT_VERSION}, and a document without one is of the newest"
        )
        raise SettingsRefused([("version", json.dumps(version), rule)])
    while version in STEPS:
        whole = STEPS[version](whole)
        version += 1
        whole["version"] = version
    return json.dumps(whole)


def _symbols_by_exchange(document: Document) -> Document:
    """1 → 2: a list of symbols becomes exchange → symbol → what is set of it.

    So a change of one symbol is one path, in the audit too, and no path moves when another symbol goes.
    """
    listed = document.get("symbols", [])
    if not isinstance(listed, list):
        raise _refused("symbols", listed, "in version 1 it is a list of {exchange, symbol, enabled}")
    found: dict[str, dict[str, Document]] = {}
    for place, item in enumerate(listed):
        path = f"symbols.{place}"
        if not isinstance(item, dict):
            raise _refused(path, item, "it must be {exchange, symbol, enabled}")
        for name in ("exchange", "symbol"):
            if not isinstance(item.get(name), str):
                raise _refused(f"{path}.{name}", item.get(name), "it must be text")
        symbols = found.setdefault(item["exchange"].strip(), {})
        if item["symbol"] in symbols:
            raise _refused(path, item["symbol"], f"{item['exchange']} has it more than once")
        # What else it says goes along, so that validation refuses what is unknown.
        symbols[item["symbol"]] = {
            name: value for name, value in item.items() if name not in ("exchange", "symbol")
        }
    return {**document, "symbols": found}


def _refused(path: str, value: object, rule: str) -> SettingsRefused:
    """Only what is short and simple is shown: it may be a key pasted into the wrong place."""
    if isinstance(value, dict | list):
        shown = "an object" if isinstance(value, dict) else "a list"
    else:
        shown = json.dumps(value) if len(str(value)) <= _LONGEST_SHOWN else "(hidden)"
    return SettingsRefused([(path, shown, rule)])


STEPS: Final[Mapping[int, Callable[[Document], Document]]] = {1: _symbols_by_exchange}
"""By version: how a document of it becomes one of the next."""
