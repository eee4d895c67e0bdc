#!/bin/sh
# hdfs COMMAND ARGUMENT…: HDFS's daemons (in the foreground) and tools.
set -eu
. "$(dirname -- "$(readlink -f -- "$0")")/../libexec/launch.sh"
tools=org.apache.hadoop.hdfs.tools
server=org.apache.hadoop.hdfs.server

usage() {
  echo "usage: hdfs dfs|dfsadmin|fsck|haadmin|getconf|balancer|version|classpath|namenode|datanode|secondarynamenode|journalnode|zkfc|CLASS [ARGUMENT…]"
}

[ $# -gt 0 ] || { usage >&2; exit 2; }
command=$1
shift
case $command in
  dfs) client org.apache.hadoop.fs.FsShell "$@" ;;
  dfsadmin) client $tools.DFSAdmin "$@" ;;
  fsck) client $tools.DFSck "$@" ;;
  haadmin) client $tools.DFSHAAdmin "$@" ;;
  getconf) client $tools.GetConf "$@" ;;
  groups) client $tools.GetGroups "$@" ;;
  oiv) client $tools.offlineImageViewer.OfflineImageViewerPB "$@" ;;
  oev) client $tools.offlineEditsViewer.OfflineEditsViewer "$@" ;;
  storagepolicies) client $tools.StoragePolicyAdmin "$@" ;;
  ec) client $tools.ECAdmin "$@" ;;
  cacheadmin) client $tools.CacheAdmin "$@" ;;
  snapshotDiff) client $tools.snapshot.SnapshotDiff "$@" ;;
  balancer) run $server.balancer.Balancer "$@" ;;
  mover) run $server.mover.Mover "$@" ;;
  version) client org.apache.hadoop.util.VersionInfo "$@" ;;
  classpath) classpath ;;
  namenode) CLASS_OPTS=${HDFS_NAMENODE_OPTS:-} run $server.namenode.NameNode "$@" ;;
  datanode) CLASS_OPTS=${HDFS_DATANODE_OPTS:-} run $server.datanode.DataNode "$@" ;;
  secondarynamenode) CLASS_OPTS=${HDFS_SECONDARYNAMENODE_OPTS:-} run $server.namenode.SecondaryNameNode "$@" ;;
  journalnode) CLASS_OPTS=${HDFS_JOURNALNODE_OPTS:-} run org.apache.hadoop.hdfs.qjournal.server.JournalNode "$@" ;;
  zkfc) CLASS_OPTS=${HDFS_ZKFC_OPTS:-} run $tools.DFSZKFailoverController "$@" ;;
  help | -h | --help) usage ;;
  *.*) client "$command" "$@" ;;
  *) usage >&2; fail "unknown command \`$command\`" 2 ;;
esac
