#!/bin/sh
# hadoop COMMAND ARGUMENT…: what is not HDFS's alone.
set -eu
. "$(dirname -- "$(readlink -f -- "$0")")/../libexec/launch.sh"

usage() {
  echo "usage: hadoop fs|version|classpath|jar|checknative|conftest|CLASS [ARGUMENT…]"
}

[ $# -gt 0 ] || { usage >&2; exit 2; }
command=$1
shift
case $command in
  fs) client org.apache.hadoop.fs.FsShell "$@" ;;
  version) client org.apache.hadoop.util.VersionInfo "$@" ;;
  classpath) classpath ;;
  jar)
    [ $# -gt 0 ] || fail "jar needs a FILE" 2
    CLASS_OPTS=${HADOOP_CLIENT_OPTS:-}
    run org.apache.hadoop.util.RunJar "$@"
    ;;
  checknative) client org.apache.hadoop.util.NativeLibraryChecker "$@" ;;
  conftest) client org.apache.hadoop.util.ConfTest "$@" ;;
  help | -h | --help) usage ;;
  *.*) client "$command" "$@" ;;
  *) usage >&2; fail "unknown command \`$command\`" 2 ;;
esac
