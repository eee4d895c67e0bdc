"""The workloads of one pair, as one PySpark program.

Usage: spark-submit workloads.py ASK, where ASK is base64 of JSON: {"out": FILE, "base": FOLDER, "logs": FOLDER or "",
"superuser": NAME, "bucket": NAME or "", "run": [WORKLOAD…], "phase": "first" or "second"}.

Appends JSON lines to FILE: {"begins": NAME}, then {"name": NAME, "ok": true} or {"name": NAME, "ok": false, "error":
TEXT}. Each workload is tried by itself; those that need no Python of their own also where PySpark cannot be imported, since
programs in Scala would run there. The first phase ends by killing its own JVM in the middle of a stream, the
second goes on with it. Runs on whatever Python and Spark the pair has: nothing here may be newer than Python 3.6.
"""
import base64
import json
import os
import re
import sys
import time

ASK = json.loads(base64.b64decode(sys.argv[1]).decode())
WAIT = 90


def tell(**line):
    with open(ASK["out"], "a") as out:
        out.write(json.dumps(line) + "\n")


def why(problem):
    """One line: the root cause's, where Java threw it."""
    thrown = getattr(problem, "java_exception", None) or getattr(problem, "_origin", None)
    try:
        while thrown is not None and thrown.getCause() is not None:
            thrown = thrown.getCause()
        said = thrown.toString() if thrown is not None else ""
    except Exception:  # the JVM is gone, too
        said = ""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    if not said or "PythonException" in said or "Job aborted" in said:
        told = [line for line in lines if re.match(r"(Caused by: )?[\w.$]*(Error|Exception)\b", line)]
        said = told[-1] if told else (lines[0] if lines else "")
    # Servers send their stack with the message.
    said = re.split(r"\s+at [\w.$]+\(", " ".join(said.split()))[0]
    return (type(problem).__name__ + ": " + said)[:400]


def hold(what, said=""):
    if not what:
        raise AssertionError(said or "the result is wrong")


# --- a session where PySpark cannot be had: what workloads use of it, straight from the JVM ----------------------------
class Bare:
    """A Java object that answers like PySpark's."""
    PROPERTIES = ("read", "write", "readStream", "writeStream")

    def __init__(self, gateway, java):
        self._gateway, self._java = gateway, java

    def _texts(self, texts):
        array = self._gateway.new_array(self._gateway.jvm.java.lang.String, len(texts))
        for at, each in enumerate(texts):
            array[at] = each
        return array

    def _bare(self, java):
        return Bare(self._gateway, java) if hasattr(java, "getClass") else java

    def __getattr__(self, name):
        if name in self.PROPERTIES:
            return self._bare(getattr(self._java, name)())

        def call(*words):
            if name in ("selectExpr", "partitionBy"):
                words = [self._texts(words)]
            elif name == "groupBy":
                words = [words[0], self._texts(words[1:])]
            elif name == "option":
                words = [words[0], str(words[1])]
            java = getattr(self._java, name)(*words)
            if name == "first":
                return tuple(java.get(at) for at in range(java.size()))
            return BareQuery(self._gateway, java) if name == "start" else self._bare(java)
        return call


class BareQuery(Bare):
    """A stream."""

    def _progress(self, java):
        return {"batchId": java.batchId(), "numInputRows": java.numInputRows()} if java is not None else None

    lastProgress = property(lambda self: self._progress(self._java.lastProgress()))
    recentProgress = property(lambda self: [self._progress(each) for each in self._java.recentProgress()])
    isActive = property(lambda self: self._java.isActive())

    def exception(self):
        found = self._java.exception()
        return found.get() if found.isDefined() else None


class BareSession(Bare):
    """The session, and its context."""

    def __init__(self, gateway):
        builder = gateway.jvm.org.apache.spark.sql.SparkSession.builder().appName("matrix")
        super().__init__(gateway, builder.config("spark.sql.shuffle.partitions", "2").getOrCreate())
        self._jvm, context = gateway.jvm, self._java.sparkContext()
        self._jsc = gateway.jvm.org.apache.spark.api.java.JavaSparkContext(context)
        self.version, self.sparkContext, self.applicationId = context.version(), self, context.applicationId()

    def getConf(self):
        return self._java.sparkContext().getConf()


def session():
    """PySpark's where it can be imported; else the reason is what `python_udf` fails with."""
    try:
        from pyspark.sql import SparkSession
    except Exception as problem:
        from py4j.java_gateway import GatewayParameters, JavaGateway
        reason = "PySpark cannot be imported: " + why(problem)
        globals()["python_udf"] = lambda *_: hold(False, reason)
        secret = os.environ.get("PYSPARK_GATEWAY_SECRET")
        where = GatewayParameters(port=int(os.environ["PYSPARK_GATEWAY_PORT"]), auth_token=secret, auto_convert=True)
        return BareSession(JavaGateway(gateway_parameters=where))
    return SparkSession.builder.appName("matrix").config("spark.sql.shuffle.partitions", "2").getOrCreate()


# --- each workload takes the session and a folder of its own ----------------------------------------------------------
def text(spark, base):
    lines = spark.range(0, 2000, 1, 1).selectExpr("concat('w', id % 97, ' and ', id % 7) as value")
    for codec in ("none", "gzip"):
        lines.write.option("compression", codec).text(base + "/" + codec)
        words = spark.read.text(base + "/" + codec).selectExpr("explode(split(value, ' ')) as w").groupBy("w").count()
        hold(words.selectExpr("sum(count)").first()[0] == 6000)


def columns(spark, base, kind, codecs):
    rows = spark.range(0, 3000, 1, 1).selectExpr("id", "id % 3 as part", "cast(id as string) as name", "array(id, id + 1) as both")
    for codec in codecs:
        rows.write.mode("append").option("compression", codec).partitionBy("part").format(kind).save(base)
    got = spark.read.format(kind).load(base).where("part = 1 and id > 1500").selectExpr("count(name)", "sum(both[1])").first()
    hold(tuple(got) == (1000, 2 * sum(i + 1 for i in range(1501, 3000) if i % 3 == 1)), str(got))


def parquet(spark, base):
    columns(spark, base, "parquet", ["snappy", "gzip"])


def orc(spark, base):
    columns(spark, base, "orc", ["snappy", "zlib"])


def python_udf(spark, base):
    from pyspark.sql.functions import col, udf
    from pyspark.sql.types import LongType
    twice = udf(lambda x: 2 * x, LongType())
    hold(spark.range(100).select(twice(col("id")).alias("n")).selectExpr("sum(n)").first()[0] == 9900)
    hold(spark.sparkContext.parallelize(range(100), 2).map(lambda x: (x % 2, x)).reduceByKey(lambda a, b: a + b).count() == 2)


def user_jars(spark, base):
    """A method of the attached jar, which calls one that not every Hadoop client has."""
    jvm, path = spark._jvm, spark._jvm.org.apache.hadoop.fs.Path(base)
    conf = spark._jsc.hadoopConfiguration()
    files = path.getFileSystem(conf)
    files.mkdirs(path)
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    loader.loadClass("bench.Companion")
    hold(jvm.bench.Companion.asks(files, path) is not None)


def as_superuser(spark):
    conf = spark._jsc.hadoopConfiguration()
    files = spark._jvm.org.apache.hadoop.fs.FileSystem
    return files.get(files.getDefaultUri(conf), conf, ASK["superuser"])


def list_open_files(spark, base):
    files, path = as_superuser(spark), spark._jvm.org.apache.hadoop.fs.Path(base + "/open")
    out = files.create(path)
    try:
        out.writeBytes("not closed")
        out.hflush()
        found, each = False, files.listOpenFiles()
        while each.hasNext():
            found = each.next().getFilePath() == path.toUri().getPath() or found
        hold(found, "the open file is not listed")
    finally:
        out.close()


def erasure_coding(spark, base):
    files, path = as_superuser(spark), spark._jvm.org.apache.hadoop.fs.Path(base)
    files.mkdirs(path)
    policy = "XOR-2-1-1024k"
    files.enableErasureCodingPolicy(policy)
    files.setErasureCodingPolicy(path, policy)
    hold(files.getErasureCodingPolicy(path).getName() == policy)


def s3a(spark, base):
    place = "s3a://" + ASK["bucket"] + base
    spark.range(1000).write.parquet(place)
    hold(spark.read.parquet(place).selectExpr("sum(id)").first()[0] == 499500)


def stream(spark, base):
    source = spark.readStream.schema("id long").option("maxFilesPerTrigger", 1).parquet(base + "/in")
    out = source.writeStream.format("parquet").option("checkpointLocation", base + "/checkpoint")
    return out.start(base + "/out")


def streaming_begins(spark, base):
    """Returns in the middle of the stream."""
    spark.range(0, 800, 1, 5).write.parquet(base + "/in")
    query, end = stream(spark, base), time.time() + WAIT
    while not query.lastProgress or query.lastProgress["batchId"] < 1:
        hold(query.exception() is None, str(query.exception()))
        hold(query.isActive and time.time() < end, "the stream does not get on")
        time.sleep(0.05)


def streaming(spark, base):
    query = stream(spark, base)
    query.processAllAvailable()
    first = [progress["batchId"] for progress in query.recentProgress if progress["numInputRows"]]
    query.stop()
    got = tuple(spark.read.parquet(base + "/out").selectExpr("count(*)", "count(distinct id)", "sum(id)").first())
    hold(got == (800, 800, 319600), "rows, different ones, sum: %s" % (got,))
    hold(not first or min(first) >= 1, "the stream began anew")


def event_log(spark, base):
    """Ends the session: its log has to be whole. Tells the application, for whoever asks the history server."""
    context = spark.sparkContext
    app, place, conf = context.applicationId, context.getConf().get("spark.eventLog.dir"), spark._jsc.hadoopConfiguration()
    path = spark._jvm.org.apache.hadoop.fs.Path(place)
    spark.range(10).count()
    spark.stop()
    files = path.getFileSystem(conf)

    def names(folder):
        return {status.getPath().getName(): status for status in files.listStatus(folder)}

    whole = {name: status for name, status in names(path).items() if app in name}
    hold(whole and not any(name.endswith(".inprogress") for name in whole), "there is no whole log: %s" % sorted(whole))
    for status in whole.values():
        inside = names(status.getPath()) if status.isDirectory() else {status.getPath().getName(): status}
        hold(not any(name.endswith(".inprogress") for name in inside), str(sorted(inside)))
        hold(max(each.getLen() for each in inside.values()) > 1000, "the log is empty")
    tell(application=app)


def kill(spark):
    """The driver as `kill -9` leaves it; nobody answers this call."""
    tell(killed=True)
    try:
        spark._jvm.java.lang.Runtime.getRuntime().halt(137)
    finally:
        os._exit(0)


def main():
    run, done = ASK["run"], set()
    if ASK["phase"] == "first":
        run = [name for name in run if name != "event_log"]
    tell(begins="session")
    try:
        spark = session()
        version = spark._jvm.org.apache.hadoop.util.VersionInfo.getVersion()
        tell(client=version, spark=spark.version, java=spark._jvm.java.lang.System.getProperty("java.version"),
             python=sys.version.split()[0])
        spark.range(0, 10, 1, 1).count()
    except Exception as problem:
        tell(name="session", ok=False, error=why(problem))
        return 1
    for name in run:
        tell(begins=name)
        place = ASK["base"] + "/" + name
        begin = time.time()
        killed = name == "streaming" and ASK["phase"] == "first"
        try:
            (streaming_begins if killed else globals()[name])(spark, place)
        except Exception as problem:
            tell(name=name, ok=False, error=why(problem), seconds=round(time.time() - begin, 1))
        else:
            if killed:
                kill(spark)
            tell(name=name, ok=True, seconds=round(time.time() - begin, 1))
        done.add(name)
    if "event_log" not in done:
        spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
