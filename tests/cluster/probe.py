"""Submitted to the cluster: from where do its workers take their Python and the packages? Prints them as JSON."""

import json

from pyspark.sql import SparkSession


def told(_):
    import sys

    import pandas
    import sklearn

    import cdp_spark.pipeline as package

    yield json.dumps([sys.prefix, pandas.__file__, sklearn.__file__, package.__file__])


spark = SparkSession.builder.appName("probe").getOrCreate()
found = set(spark.sparkContext.parallelize(range(4), 4).mapPartitions(told).collect())
print("PROBE " + json.dumps(sorted(json.loads(one) for one in found)))
