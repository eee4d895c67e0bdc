"""Estimates pi on the cluster; argument: the number of slices. Prints one JSON object."""

import json
import random
import sys
import time

from pyspark.sql import SparkSession


def inside(_):
    x, y = random.random() * 2 - 1, random.random() * 2 - 1
    return 1 if x * x + y * y <= 1 else 0


def main():
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    points = 100_000 * slices
    started = time.time()
    spark = SparkSession.builder.appName("stoker run-pi").getOrCreate()
    context = spark.sparkContext
    hits = context.parallelize(range(points), slices).map(inside).sum()
    result = {
        "pi": 4.0 * hits / points,
        "points": points,
        "slices": slices,
        "application": context.applicationId,
        "spark": spark.version,
        "hadoop": spark._jvm.org.apache.hadoop.util.VersionInfo.getVersion(),
        "python": sys.version.split()[0],
        "seconds": round(time.time() - started, 2),
    }
    spark.stop()
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
