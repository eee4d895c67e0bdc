"""The quickstart's notebook: counts words on the cluster, over HDFS, and checks them. The variable `home` is set
before the first cell: the folder on HDFS that the run may use.
"""

# %% start a session
import collections
import json
import platform
import random
import urllib.request

import pandas
from pyspark.sql import SparkSession, functions as f

# What the cells print is read by people and programs: no progress bars in it.
spark = SparkSession.builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
sc = spark.sparkContext

# %% write text to HDFS
words = "stoker fire boiler coal steam ember ash flame shovel grate whistle piston valve gauge tender rail".split()
# The same text each time: a word's weight falls with its place in the list.
weights = [1 / (n + 1) for n in range(len(words))]
dice = random.Random(7)
lines = [" ".join(dice.choices(words, weights, k=12)) for _ in range(20_000)]
base = f"{home}/wordcount"
spark.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")
spark.createDataFrame(pandas.DataFrame({"value": lines})).write.mode("overwrite").text(f"{base}/text")

# %% count on the cluster and save as Parquet
text = spark.read.text(f"{base}/text")
counts = text.select(f.explode(f.split("value", " ")).alias("word")).groupBy("word").count()
counts.write.mode("overwrite").parquet(f"{base}/counts")

# %% read back and check
read = {row["word"]: row["count"] for row in spark.read.parquet(f"{base}/counts").collect()}
expected = collections.Counter(word for line in lines for word in line.split())
assert read == dict(expected), "the counts on HDFS are not those made without Spark"
for word, count in expected.most_common(5):
    print(f"{count:8} {word}")

# %% versions seen from inside
client = "java_method('org.apache.hadoop.util.VersionInfo', 'getVersion')"
java = "java_method('java.lang.System', 'getProperty', 'java.version')"
seen = spark.range(0, 16, 1, 8).selectExpr(f"{client} AS client", f"{java} AS java").distinct().collect()
clients, javas = sorted({row["client"] for row in seen}), sorted({row["java"] for row in seen})
assert len(clients) == 1, f"executors differ in their Hadoop client: {clients}"
pythons = sorted(set(sc.range(0, 8, 1, 4).map(lambda _: platform.python_version()).collect()))
assert len(pythons) == 1, f"executors differ in their Python: {pythons}"


def of_namenode():
    """The version that the NameNode says it is, over its web page."""
    conf = sc._jsc.hadoopConfiguration()
    for name in (conf.get("dfs.nameservices") or "").split(","):
        nodes = (conf.get(f"dfs.ha.namenodes.{name}") or "").split(",")
        for key in [f"dfs.namenode.http-address.{name}.{node}" for node in nodes if node] + [
            f"dfs.namenode.http-address.{name}",
            "dfs.namenode.http-address",
        ]:
            address = conf.get(key)
            if address:
                url = f"http://{address}/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo"
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(url, timeout=30) as answer:
                    return json.load(answer)["beans"][0]["SoftwareVersion"]
    return None


print(
    json.dumps(
        {
            "versions": {
                "spark": spark.version,
                "hadoop_client_driver": sc._jvm.org.apache.hadoop.util.VersionInfo.getVersion(),
                "hadoop_client_executors": clients[0],
                "hdfs": of_namenode(),
                "python_driver": platform.python_version(),
                "python_executors": pythons[0],
                "java_executors": ", ".join(javas),
            },
            "words": {
                "expected": sum(expected.values()),
                "counted": sum(read.values()),
                "distinct": len(read),
            },
            "top": expected.most_common(5),
            "application": sc.applicationId,
            "ui": sc.uiWebUrl,
        }
    )
)

# %% stop the session
spark.stop()
