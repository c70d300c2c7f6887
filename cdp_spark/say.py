"""How is anything told? A line on stderr: words for people, a JSON object where the environment says CDP_LOG=json."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime


def say(message: str, level: str = "info", text: str | None = None, at: datetime | None = None, **about: str) -> None:
    """Tell `message`, never a row's values; `text` is how people read it, `about` what programs also get."""
    line = message if text is None else text
    if os.environ.get("CDP_LOG") == "json":
        moment = (at or datetime.now(UTC)).isoformat(timespec="milliseconds")
        line = json.dumps({"at": moment, "level": level} | about | {"message": message})
    print(line, file=sys.stderr, flush=True)
