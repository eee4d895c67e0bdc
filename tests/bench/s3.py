"""An S3 server, and the jars that Spark reaches it with.

Owns both and keeps them in the cache: the server is moto in an environment of its own, jars come from Maven. The SDK is
the few modules that are used, since the bundle that hadoop-aws asks for is a gigabyte with its copies.
"""
import os, pathlib, shutil, socket, subprocess, tempfile, time, urllib.error, urllib.request

from material import KEPT, talk

MOTO = "moto[s3,server]==5.2.5"
BUCKET = "matrix"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
# What every Spark of these lines has itself, and would be hidden by another.
CARRIED = ("io.netty,org.slf4j,commons-logging,commons-codec,org.apache.httpcomponents,com.fasterxml.jackson.core,joda-time,"
           "org.wildfly.common")
SDK_1 = [("com.amazonaws", f"aws-java-sdk-{name}", "1.12.262") for name in ("s3", "sts", "dynamodb")]
SDK_2 = ("s3", "s3-transfer-manager", "sts", "apache-client", "netty-nio-client", "s3-event-notifications")
OPENSSL = ("org.wildfly.openssl", "wildfly-openssl", "1.1.3.Final")


def sdk(version):
    """What hadoop-aws of a version needs beside a Hadoop client."""
    line = tuple(int(part) for part in version.split("."))
    if line < (3, 4):
        return [*SDK_1, OPENSSL]
    newer = line >= (3, 4, 3)
    modules = [("software.amazon.awssdk", name, "2.35.4" if newer else "2.29.52") for name in SDK_2]
    more = [("software.amazon.s3.analyticsaccelerator", "analyticsaccelerator-s3", "1.3.1")] if newer else []
    return [*modules, *more, OPENSSL]


def jars(version):
    """The folder of hadoop-aws and its SDK."""
    place = KEPT / "aws" / version
    if place.is_dir():
        return place
    talk(f"hadoop-aws {version} from Maven")
    place.parent.mkdir(parents=True, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
    alone = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    wants = [("org.apache.hadoop", "hadoop-aws", version, alone), *[(*each, "") for each in sdk(version)]]
    wants = "".join(f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{number}</version>{more}"
                    "</dependency>" for group, name, number, more in wants)
    (work / "pom.xml").write_text("<project><modelVersion>4.0.0</modelVersion><groupId>bench</groupId><artifactId>aws</artifactId>"
                                  f"<version>1</version><dependencies>{wants}</dependencies></project>\n")
    done = subprocess.run(["mvn", "-B", "-q", "-ntp", "-DincludeScope=runtime", f"-DexcludeGroupIds={CARRIED}",
                           f"-DoutputDirectory={work}/jars", PLUGIN], cwd=work, capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(work)
        raise SystemExit(f"cannot fetch hadoop-aws {version}: {done.stdout[-1500:]}")
    (work / "jars").rename(place)
    shutil.rmtree(work)
    return place


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """moto, with the bucket; `with` ends it."""

    def __init__(self, folder):
        home = KEPT / "moto"
        if not (home / "bin/moto_server").is_file():
            talk("moto from PyPI")
            subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", home], check=True)
            subprocess.run([home / "bin/pip", "install", "-q", "--disable-pip-version-check", MOTO], check=True)
        self.port = free_port()
        self.log = open(pathlib.Path(folder) / "s3.log", "wb")
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
        self.process = subprocess.Popen([home / "bin/moto_server", "-H", "127.0.0.1", "-p", str(self.port)],
                                        stdout=self.log, stderr=self.log, env=environment)
        end = time.monotonic() + 60
        while not self.bucket():
            if time.monotonic() > end or self.process.poll() is not None:
                raise SystemExit(f"the S3 server does not come up: {self.log.name}")
            time.sleep(0.2)

    def bucket(self):
        try:
            wanted = urllib.request.Request(f"http://127.0.0.1:{self.port}/{BUCKET}", method="PUT")
            return urllib.request.urlopen(wanted, timeout=5).status == 200
        except urllib.error.HTTPError as there:
            return there.code == 409
        except OSError:
            return False

    def properties(self):
        return {"spark.hadoop.fs.s3a.endpoint": f"http://127.0.0.1:{self.port}",
                "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
                "spark.hadoop.fs.s3a.access.key": "bench", "spark.hadoop.fs.s3a.secret.key": "bench",
                "spark.hadoop.fs.s3a.path.style.access": "true",
                "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
                # One answer, not minutes of tries.
                "spark.hadoop.fs.s3a.attempts.maximum": "2", "spark.hadoop.fs.s3a.retry.limit": "2"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
