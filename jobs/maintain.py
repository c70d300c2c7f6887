"""Keep tables fast and small: compact, cluster, vacuum."""

from cdp_spark.governance.maintain import maintain
from cdp_spark.job import Job
from cdp_spark.runner import main
from ml.keep import training_sets_in_use


def run(job: Job) -> None:
    maintain(job, training_sets_in_use(job))


if __name__ == "__main__":
    main(run)
