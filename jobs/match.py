"""Find records that are one person though they share no identifier; the model in use is kept in MLflow."""

from cdp_spark.identity.gate import word_for
from cdp_spark.identity.matching.match import match
from cdp_spark.job import Job
from cdp_spark.runner import main
from ml.keep import keep_matching


def run(job: Job) -> None:
    word_for(job)  # rules that `resolve` would refuse as no plan stands for them leave no matches either
    if model := match(job):
        keep_matching(job, model)


if __name__ == "__main__":
    main(run)
