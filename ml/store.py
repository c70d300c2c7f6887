"""Where does a model of a flat table lie? A folder with the model, its report and the hash that tells tampering."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import cloudpickle

from ml.card import card, plots
from ml.flat import Fitted
from ml.show import plain

FILE, REPORT, MANIFEST = "model.pkl", "report.json", "manifest.json"
STALE = "stale.json"  # beside a model that a later, refused fit was to follow


class StoreError(Exception):
    """There is no such model, or its file is not the one that was written. Exit code 2."""

    exit_code = 2


def save(kept: Fitted, root: str | Path) -> Path:
    """Write <root>/<name>/ with model, report, model card and plots; no row of anybody. The folder."""
    folder, payload = Path(root) / kept.name, cloudpickle.dumps(kept)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_bytes(payload)
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be written ({type(error).__name__}); name another folder with --models"
        ) from None
    (folder / STALE).unlink(missing_ok=True)
    (folder / REPORT).write_text(json.dumps(plain(kept.report), indent=1))
    (folder / "card.md").write_text(card(kept.report))
    for name, picture in plots(kept.report).items():
        (folder / f"{name}.png").write_bytes(picture)
    (folder / MANIFEST).write_text(json.dumps({"model": kept.name, "sha256": hashlib.sha256(payload).hexdigest()}))
    return folder


def outdated(name: str, root: str | Path, reasons: list[str]) -> str | None:
    """Mark the model `name` of an earlier fit as stale, as a later one was refused; in words, None without one."""
    folder = Path(root) / name
    if not (folder / MANIFEST).exists():
        return None
    try:
        (folder / STALE).write_text(json.dumps({"model": name, "reasons": reasons}, indent=1))
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({type(error).__name__})") from None
    return f"an earlier model {name} stays in {folder}, marked as stale: evaluate goes on with it, and says so"


def stale(name: str, root: str | Path) -> str | None:
    """A note where the model `name` was to be followed by one that was refused; None otherwise."""
    if not (Path(root) / name / STALE).exists():
        return None
    return (
        f"STALE: the model {name} is of an earlier fit; a later one was refused ({Path(root) / name / STALE} says why)"
    )


def load(name: str, root: str | Path) -> Fitted:
    """The model `name` below `root`. Raises StoreError where it is not there or its hash is not the manifest's."""
    folder = Path(root) / name
    if not (folder / MANIFEST).exists():
        there = sorted(path.parent.name for path in Path(root).glob(f"*/{MANIFEST}")) if Path(root).is_dir() else []
        known = f"there are: {', '.join(there)}" if there else "nothing was fitted there yet"
        raise StoreError(f"no model {name!r} in {root}; {known}. Fit it first: cdp model fit {name} --table ...")
    try:
        payload, sealed = (folder / FILE).read_bytes(), json.loads((folder / MANIFEST).read_text())["sha256"]
    except (OSError, ValueError, KeyError):
        raise StoreError(f"{folder}: the model or its manifest is gone or broken; fit it again") from None
    if hashlib.sha256(payload).hexdigest() != sealed:
        raise StoreError(f"{folder / FILE}: not the file that was fitted (its SHA-256 differs); it is not loaded")
    return pickle.loads(payload)
