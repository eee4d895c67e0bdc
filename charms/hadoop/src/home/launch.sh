# Read by bin/hadoop and bin/hdfs: where this Hadoop is, and how its classes are started.
# HADOOP_CONF_DIR, JAVA_HOME, HADOOP_CLASSPATH, HADOOP_OPTS, HADOOP_CLIENT_OPTS and HADOOP_HEAPSIZE_MAX are honoured.
HADOOP_HOME=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
HADOOP_CONF_DIR=${HADOOP_CONF_DIR:-$HADOOP_HOME/etc/hadoop}
export HADOOP_HOME HADOOP_CONF_DIR

fail() {
  echo "${0##*/}: $1" >&2
  exit "${2:-1}"
}

# Globs are for the JVM: the shell must not expand them.
classpath() {
  share=$HADOOP_HOME/share/hadoop
  echo "$HADOOP_CONF_DIR:$share/common/*:$share/common/lib/*:$share/hdfs:$share/hdfs/*:$share/hdfs/lib/*:$share/mapreduce/*:$share/yarn:$share/yarn/*:$share/yarn/lib/*${HADOOP_CLASSPATH:+:$HADOOP_CLASSPATH}"
}

# run CLASS ARGUMENT…: a class in place of this shell, so that signals and the exit status are its own.
run() {
  java=${JAVA_HOME:+$JAVA_HOME/bin/}java
  command -v "$java" >/dev/null 2>&1 || fail "no Java at \`$java\`: set JAVA_HOME, or install one (apt install openjdk-17-jre-headless)" 127
  [ -d "$HADOOP_CONF_DIR" ] || fail "HADOOP_CONF_DIR \`$HADOOP_CONF_DIR\` is no folder"
  set -f
  # shellcheck disable=SC2086 # options are words
  exec "$java" -XX:+IgnoreUnrecognizedVMOptions --add-opens=java.base/java.lang=ALL-UNNAMED \
    ${HADOOP_HEAPSIZE_MAX:+-Xmx$HADOOP_HEAPSIZE_MAX} ${HADOOP_OPTS:-} ${CLASS_OPTS:-} -cp "$(classpath)" "$@"
}

# A short-lived client: start-up counts, peak speed does not.
client() {
  CLASS_OPTS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC ${HADOOP_CLIENT_OPTS:-}"
  run "$@"
}
