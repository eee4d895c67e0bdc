"""The filesystems of the matrix: those that the hadoop charm runs, and one of the 2.7 line, started by hand.

No Hadoop 2 is published as daemons; older distributions of Spark carry all of it. A filesystem tells its `uri`, who is
its superuser, and makes folders.
"""
import json, os, pathlib, shutil, subprocess, time, urllib.parse, urllib.request

from blake3 import digest
from material import talk
from s3 import free_port

HERE = pathlib.Path(__file__).resolve().parent

# Hadoop -> the Spark that has its jars.
CARRIERS = {"2.7.3": "2.4.8", "2.7.4": "3.0.2"}
SITE = "<configuration>{}</configuration>\n"


def site(path, pairs):
    rows = "".join(f"<property><name>{name}</name><value>{value}</value></property>" for name, value in sorted(pairs.items()))
    pathlib.Path(path).write_text(SITE.format(rows))


def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as page:
            return json.loads(page.read())
    except OSError:
        return None


def until(what, holds, seconds=120):
    end = time.monotonic() + seconds
    while not (seen := holds()):
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {seconds} s")
        time.sleep(0.2)
    return seen


class Hdfs:
    """What both kinds have in common: addresses on the loopback, and a client's configuration."""

    def __init__(self):
        self.rpc, self.http = free_port(), free_port()
        self.uri = f"hdfs://127.0.0.1:{self.rpc}"

    def configuration(self, folder):
        """A folder of client configuration."""
        folder.mkdir(exist_ok=True)
        site(folder / "core-site.xml", {"fs.defaultFS": self.uri})
        site(folder / "hdfs-site.xml", {"dfs.replication": "1"})
        return folder

    def related(self):
        """Does what somebody has to do once Spark is related to it."""

    def writable(self):
        """Out of safe mode, with a live DataNode."""
        answer = ask(f"http://127.0.0.1:{self.http}/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo")
        beans = (answer or {}).get("beans") or [{}]
        return beans[0].get("Safemode") == "" and json.loads(beans[0].get("LiveNodes") or "{}") != {} and beans[0]


def remove(agent, app):
    agent("remove-application", app, "--force", "--destroy-data", "--yes", "--wait", "--timeout", "120s", check=False)


class Deployed(Hdfs):
    """An HDFS of the charm."""

    def __init__(self, agent, version):
        super().__init__()
        self.agent, self.app = agent, "hadoop"
        agent("deploy", "hadoop", "--resource", f"hadoop=recipe:{version}", "--config", f"namenode-port={self.rpc}",
              "--config", f"namenode-http-port={self.http}", "--no-wait")
        seen = until(f"HDFS {version} is writable", self.writable)
        if seen["SoftwareVersion"] != version:
            raise SystemExit(f"HDFS is {seen['SoftwareVersion']}, not {version}")
        self.superuser = ask(f"http://127.0.0.1:{self.http}/webhdfs/v1/?op=GETFILESTATUS")["FileStatus"]["owner"]

    def folder(self, path):
        """A folder that everybody may write to."""
        query = urllib.parse.urlencode({"op": "MKDIRS", "permission": "1777", "user.name": self.superuser})
        wanted = urllib.request.Request(f"http://127.0.0.1:{self.http}/webhdfs/v1{path}?{query}", method="PUT")
        urllib.request.urlopen(wanted, timeout=30).close()

    def end(self):
        remove(self.agent, self.app)


def found(key, document):
    """A value wherever it is in a document."""
    if isinstance(document, dict) and key in document:
        return document[key]
    inside = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return next((hit for each in inside if (hit := found(key, each)) is not None), None)


class ByHand(Hdfs):
    """NameNode and DataNode of the 2.7 line, from the jars of a Spark that has them; the charm `foreign` tells of it."""

    def __init__(self, agent, version, home, java, folder):
        super().__init__()
        self.agent, self.app = agent, "elsewhere"
        self.java, self.dir, self.superuser = pathlib.Path(java) / "bin/java", pathlib.Path(folder), "hdfs"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()
        self.configuration(self.dir)
        port = free_port
        site(self.dir / "hdfs-site.xml", {
            "dfs.namenode.name.dir": f"file://{self.dir}/nn", "dfs.datanode.data.dir": f"file://{self.dir}/dn",
            "dfs.replication": "1", "dfs.namenode.rpc-address": f"127.0.0.1:{self.rpc}",
            "dfs.namenode.http-address": f"127.0.0.1:{self.http}", "dfs.datanode.address": f"127.0.0.1:{port()}",
            "dfs.datanode.http.address": f"127.0.0.1:{port()}", "dfs.datanode.ipc.address": f"127.0.0.1:{port()}",
            "dfs.namenode.datanode.registration.ip-hostname-check": "false", "dfs.webhdfs.enabled": "false"})
        for name in ("hdfs", "datanode"):
            page = self.dir / "pages/webapps" / name / "WEB-INF/web.xml"
            page.parent.mkdir(parents=True)
            page.write_text("<web-app/>\n")
        self.classpath = f"{self.dir}:{self.dir}/pages:{home}/jars/*"
        self.run("namenode.NameNode", "-format", "-nonInteractive")
        self.log = open(self.dir / "daemons.log", "wb")
        self.daemons = [subprocess.Popen(self.command(f"hdfs.server.{name}"), env=self.environment(), stdout=self.log, stderr=self.log)
                        for name in ("namenode.NameNode", "datanode.DataNode")]
        try:
            until("HDFS by hand is writable", self.writable)
        except RuntimeError as late:
            self.end()
            raise SystemExit(f"{late}: {self.log.name}") from late
        told = {"version": version, "build": f"b3:{pathlib.Path(home).name}", "uri": self.uri}
        agent("deploy", HERE / "foreign", self.app, *[word for key, value in told.items() for word in ("--config", f"{key}={value}")],
              "--no-wait")

    def environment(self):
        return {**os.environ, "HADOOP_USER_NAME": self.superuser}

    def command(self, name, *words):
        return [self.java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", self.classpath, f"org.apache.hadoop.{name}", *words]

    def run(self, name, *words):
        name = name if name.startswith("fs.") else f"hdfs.server.{name}"
        done = subprocess.run(self.command(name, *words), env=self.environment(), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name} {' '.join(words)}: {done.stderr[-2000:]}")

    def folder(self, path):
        self.run("fs.FsShell", "-mkdir", "-p", path)
        self.run("fs.FsShell", "-chmod", "1777", path)

    def related(self):
        """Makes the folders that Spark asks for."""
        asked = until("Spark asks for folders", lambda: found("dirs", self.agent.asked("show-unit", f"{self.app}/0")))
        for each in json.loads(asked):
            self.run("fs.FsShell", "-mkdir", "-p", each["path"])
            self.run("fs.FsShell", "-chown", each["owner"], each["path"])
            self.run("fs.FsShell", "-chmod", each["mode"], each["path"])
        self.agent("config", self.app, f"made={digest(asked.encode())}", "--no-wait")

    def end(self):
        remove(self.agent, self.app)
        for daemon in self.daemons:
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                talk("an HDFS daemon does not end and is killed")
                daemon.kill()
                daemon.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)
