#!/usr/bin/env bash
# The manual floor: HDFS + Spark standalone + history server from nothing to the result of a first job, by hand, in parallel.
# Prints one line of JSON: milliseconds from the start to each step. Everything started is stopped, by pid, at the end.
#
#   HADOOP_HOME=… SPARK_HOME=… WORK=/tmp/floor [PYTHON=python3] [JOB=my.py] [HEAP=256m] manual-floor.sh
#
# JAVA_TOOL_OPTIONS="-XX:TieredStopAtLevel=1" reaches every JVM of the run, for a floor with short-lived-JVM flags.
# WORK keeps its HDFS between runs: a second run with the same WORK measures a restart, a new WORK a first start.
set -euo pipefail
: "${HADOOP_HOME:?}" "${SPARK_HOME:?}" "${WORK:?}"
PYTHON=${PYTHON:-$(command -v python3)} HEAP=${HEAP:-256m} HOST=127.0.0.1
RPC=${RPC:-18020} NNHTTP=${NNHTTP:-19870} MASTER=${MASTER:-17077} MASTERUI=${MASTERUI:-18081} HISTORY=${HISTORY:-18180}
JAVA=${JAVA_HOME:+$JAVA_HOME/bin/}java
mkdir -p "$WORK"/{conf,logs,spark-work,local}

now() { local t=${EPOCHREALTIME/./}; echo $((t / 1000)); }
T0=$(now) STEPS=""
step() { STEPS+="${STEPS:+, }\"$1\": $(($(now) - T0))"; }
die() { echo "manual-floor: $*" >&2; tail -n 5 "$WORK"/logs/*.log >&2; exit 1; }

PIDS=()
stop() { [ ${#PIDS[@]} = 0 ] || { kill "${PIDS[@]}" 2>/dev/null || true; wait "${PIDS[@]}" 2>/dev/null || true; PIDS=(); }; }
trap stop EXIT; trap 'exit 130' INT TERM
start() { local name=$1; shift; "$@" >"$WORK/logs/$name.log" 2>&1 & PIDS+=($!); }
until_true() { local what=$1 end=$(($(now) + ${PATIENCE:-60} * 1000)); shift
  until "$@" >/dev/null 2>&1; do [ "$(now)" -lt $end ] || die "no $what after ${PATIENCE:-60} s"; sleep 0.1; done; }
port_open() { (exec 3<>"/dev/tcp/$HOST/$1"); }
get() { curl -sf -m 5 "http://$HOST:$1"; }

property() { echo "<property><name>$1</name><value>$2</value></property>"; }
{ echo "<configuration>"
  property fs.defaultFS "hdfs://$HOST:$RPC"
  property hadoop.tmp.dir "$WORK/tmp"
  property ipc.client.connect.retry.interval 100; property ipc.client.connect.max.retries 100
  echo "</configuration>"; } >"$WORK/conf/core-site.xml"
{ echo "<configuration>"
  property dfs.namenode.name.dir "file://$WORK/nn"; property dfs.datanode.data.dir "file://$WORK/dn"
  property dfs.replication 1; property dfs.namenode.safemode.extension 0
  property dfs.namenode.rpc-address "$HOST:$RPC"; property dfs.namenode.http-address "$HOST:$NNHTTP"
  property dfs.datanode.address "$HOST:0"; property dfs.datanode.http.address "$HOST:0"; property dfs.datanode.ipc.address "$HOST:0"
  property dfs.datanode.hostname "$HOST"; property dfs.namenode.datanode.registration.ip-hostname-check false
  echo "</configuration>"; } >"$WORK/conf/hdfs-site.xml"
cat >"$WORK/conf/log4j.properties" <<X
log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
X
cat >"$WORK/conf/spark-defaults.conf" <<X
spark.eventLog.enabled true
spark.eventLog.dir hdfs://$HOST:$RPC/spark-logs
spark.history.fs.logDirectory hdfs://$HOST:$RPC/spark-logs
spark.history.fs.update.interval 1s
spark.ui.enabled false
spark.executor.memory 512m
X
S=$HADOOP_HOME/share/hadoop
CLASSPATH_HDFS="$WORK/conf:$S/common/*:$S/common/lib/*:$S/hdfs:$S/hdfs/*:$S/hdfs/lib/*"
hdfs() { local class=org.apache.hadoop.hdfs.server.$1; shift
  exec "$JAVA" "-Xmx$HEAP" --add-opens java.base/java.lang=ALL-UNNAMED -cp "$CLASSPATH_HDFS" "$class" "$@"; }
export HADOOP_CONF_DIR=$WORK/conf SPARK_CONF_DIR=$WORK/conf SPARK_LOCAL_IP=$HOST SPARK_LOCAL_DIRS=$WORK/local PYSPARK_PYTHON=$PYTHON
export SPARK_DAEMON_MEMORY=512m SPARK_WORKER_DIR=$WORK/spark-work

start master "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.master.Master --host $HOST --port "$MASTER" --webui-port "$MASTERUI"
[ -e "$WORK/nn/current/VERSION" ] || { (hdfs namenode.NameNode -format -nonInteractive) >"$WORK/logs/format.log" 2>&1 || die "format failed"; }
step formatted
start namenode hdfs namenode.NameNode
start datanode hdfs datanode.DataNode
until_true "Spark master" port_open "$MASTER"; step master
start worker "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.worker.Worker --host $HOST --webui-port 0 -c 2 -m 2g -d "$WORK/spark-work" "spark://$HOST:$MASTER"
until_true "NameNode" get "$NNHTTP/jmx?qry=Hadoop:service=NameNode,name=NameNodeStatus"; step namenode_http
hdfs_ready() { local j; j=$(get "$NNHTTP/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo") && [[ $j == *'"Safemode" : ""'* && $j != *'"LiveNodes" : "{}"'* ]]; }
until_true "writable HDFS" hdfs_ready; step hdfs_writable
webhdfs() { curl -sf -m 10 -X PUT "http://$HOST:$NNHTTP/webhdfs/v1$1&user.name=$(id -un)" >/dev/null || die "WebHDFS $1"; }
webhdfs "/spark-logs?op=MKDIRS&permission=1777"; webhdfs "/user/$(id -un)?op=MKDIRS"
start history env SPARK_HISTORY_OPTS="-Dspark.history.ui.port=$HISTORY" "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.history.HistoryServer
worker_alive() { [[ $(get "$MASTERUI/json/") =~ \"aliveworkers\"\ ?:\ ?1 ]]; }
until_true "live worker" worker_alive; step worker

[ -n "${JOB:-}" ] || { JOB=$WORK/job.py; cat >"$JOB" <<'X'
import json, time
t0 = time.time()
from pyspark.sql import SparkSession
spark = SparkSession.builder.appName("floor").getOrCreate(); t1 = time.time()
base = "/user/%s/floor" % spark.sparkContext.sparkUser()
spark.range(20000).selectExpr("concat('w', id % 97, ' and ', id % 7) AS value").write.mode("overwrite").text(base + "/text")
words = spark.sparkContext.textFile(base + "/text").flatMap(str.split).map(lambda w: (w, 1)).reduceByKey(lambda a, b: a + b)
words.toDF(["word", "n"]).write.mode("overwrite").parquet(base + "/words")
back = spark.read.parquet(base + "/words"); rows, total = back.count(), back.selectExpr("sum(n)").first()[0]
version = "java_method('org.apache.hadoop.util.VersionInfo', 'getVersion')"
executors = sorted({r[0] for r in spark.range(0, 4, 1, 2).selectExpr(version).collect()})
driver = spark._jvm.org.apache.hadoop.util.VersionInfo.getVersion()
assert total == 60000, total
print("RESULT", json.dumps({"rows": rows, "total": total, "spark": spark.version, "driver_hadoop": driver, "executor_hadoop": executors, "session_s": round(t1 - t0, 2), "work_s": round(time.time() - t1, 2)}), flush=True)
spark.stop()
X
}
start job "$SPARK_HOME/bin/spark-submit" --master "spark://$HOST:$MASTER" "$JOB"; JOB_PID=$!
until_true "result" grep -q "^RESULT" "$WORK/logs/job.log"; step job_result
wait "$JOB_PID" || die "job failed"; step job_exit
application_in_history() { [[ $(get "$HISTORY/api/v1/applications?status=completed") == *'"id"'* ]]; }
until_true "application in the history" application_in_history; step history
RSS=$(for i in "${!PIDS[@]}"; do awk '/^VmRSS/{printf "%d ", $2/1024}' "/proc/${PIDS[i]}/status" 2>/dev/null || true; done)
RESULT=$(sed -n 's/^RESULT //p' "$WORK/logs/job.log")   # a JOB prints one line: RESULT and a JSON object
stop; step stopped
echo "{\"milliseconds\": {$STEPS}, \"rss_mib\": \"$RSS\", \"result\": $RESULT}"
