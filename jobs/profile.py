"""One golden record a person."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdp_spark.job import Job

# A job started by its file has this folder first on its path, where this file hides the standard library's `profile`
# that Spark's Python imports: the folder goes, and whoever came here for that module gets it.
if __name__ != "jobs.profile":
    here = Path(__file__).resolve().parent
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != here]
if __name__ == "profile":
    del sys.modules["profile"]
    import profile  # noqa: F401


def run(job: Job) -> None:
    from cdp_spark.gold.profiles import profiles

    lake = job.lake
    priority = {name: source.priority for name, source in job.conf.sources.items()}
    found = profiles(
        lake.read("silver.customers"), lake.read("silver.identifiers"), lake.read("identity.members"), priority
    )
    written = lake.write("gold.profiles", found)
    job.log(f"{written.rows} people")


if __name__ == "__main__":
    from cdp_spark.runner import main

    main(run)
