"""Runs the workloads of one pair for real, and says what became of each.

Owns two ways: through the product (deployed, integrated, submitted to), which is what counts; and by hand, on the same
trees, for pairs that the product refuses or has no charm for, so that a refusal is held against what would have happened.
"""
import base64, json, os, pathlib, re, shutil, subprocess, tempfile, time

from hdfs import Hdfs, ask, remove, until
from s3 import BUCKET, free_port

HERE = pathlib.Path(__file__).resolve().parent
APP = "spark"
PATIENCE = "300s"
# Short programs: what takes the time is the JVM's own start.
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def said(text):
    """The line of a log that says why it ended."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if re.search(r"\b[\w.$]*(Error|Exception|exit status)\b", line) and not line.startswith("at ")]
    causes = [line for line in told if line.startswith("Caused by")]
    # The first that was thrown, with its root.
    chosen = (causes[-1:] or told[:1]) if told else lines[-1:]
    return " ".join(chosen)[:400] or "it said nothing"


class Attempt:
    """What is asked of a driver, and what it answers in a file."""

    def __init__(self, folder, hdfs, base, properties):
        self.out, self.hdfs, self.base, self.properties = pathlib.Path(folder) / "out.jsonl", hdfs, base, properties
        self.facts, self.application, self.killed = {}, None, False

    def ask(self, phase, run):
        self.out.write_text("")
        self.out.chmod(0o666)
        question = {"out": str(self.out), "base": self.base, "superuser": self.hdfs.superuser, "bucket": BUCKET, "run": run,
                    "phase": phase}
        return base64.b64encode(json.dumps(question).encode()).decode()

    def answers(self, log):
        """Workload -> True or the error; those whose driver was killed on purpose are left out."""
        results, begun, killed = {}, None, False
        for line in map(json.loads, self.out.read_text().splitlines()):
            self.facts.update({key: line[key] for key in ("client", "spark", "java", "python") if key in line})
            self.application = line.get("application", self.application)
            killed = "killed" in line
            self.killed = self.killed or killed
            if "begins" in line:
                begun = line["begins"]
            elif "name" in line:
                results[line["name"]] = line["ok"] or line["error"]
                begun = None
            elif "client" in line:
                begun = None
        if begun and not killed:
            results[begun] = "the driver ended: " + said(log)
        elif begun is None and not results and not self.facts:
            results["session"] = "there was no driver: " + said(log)
        return results

    def observe(self, names, submit):
        """All workloads; `submit(argument)` runs a driver and returns what it logged."""
        seen, left = {}, [name for name in names if name not in ("streaming", "event_log")]
        # The stream comes last: it ends with its driver. What a fatal workload kept from its turn has it in another one.
        for _ in names:
            answers = self.answers(submit(self.ask("first", [*left, *(["streaming"] if "streaming" in names else [])])))
            if "session" in answers:
                return {name: seen.get(name, answers["session"]) for name in names}
            seen.update(answers)
            left = [name for name in left if name not in seen]
            if not left and ("streaming" in seen or self.killed):
                break
        second = [name for name in names if name == "event_log" or (name == "streaming" and name not in seen)]
        answers = self.answers(submit(self.ask("second", second)))
        for name in second:
            seen[name] = answers.get(name, answers.get("session", "it was not reached"))
        return {name: seen[name] for name in names}


def words(pairs):
    return [f"{key}={value}" for key, value in pairs.items()]


def tree(agent, app, name):
    """The home of an application's resource."""
    for resource in agent.asked("resources", app, "--details"):
        if resource["name"] == name:
            return agent.dir / "builds/trees" / re.sub(r"^.*:", "", resource["revisions"][0]["build"])
    raise RuntimeError(f"{app} has no resource {name}")


class Product(Attempt):
    """Through the product. `refused` says why it would not; then nothing was run."""

    def __init__(self, agent, pair, folder, hdfs, base, properties, resources):
        super().__init__(folder, hdfs, base, properties)
        self.agent, self.history, self.script = agent, free_port(), pathlib.Path(folder) / "workloads.py"
        shutil.copy(HERE / "workloads.py", self.script)
        self.script.chmod(0o644)
        given = [word for each in words(resources) for word in ("--resource", each)]
        for option in (f"prefer-ports=history={self.history}", f"driver-options={QUICK}", f"executor-options={QUICK}"):
            given += ["--config", option]
        agent("deploy", "spark", APP, *given, "--no-wait")
        try:
            agent("integrate", APP, hdfs.app, "--no-wait")
            hdfs.related()
            agent("wait", APP, "--timeout", PATIENCE, check=False)
            self.refused = self.trouble()
        except BaseException:
            self.end()
            raise

    def status(self):
        return self.agent.asked("status")["applications"][APP]

    def trouble(self):
        """Why it is not active, once it is clear that it will not be."""
        end = time.monotonic() + 120
        while True:
            unit = self.status()["units"][f"{APP}/0"]["workload-status"]
            if unit["current"] == "active":
                return None
            if unit["current"] in ("blocked", "error") or time.monotonic() > end:
                return f"{unit['current']}: {unit.get('message', '')}"
            time.sleep(0.5)

    def submit(self, argument):
        more = [f"conf={json.dumps(words(self.properties))}"] if self.properties else []
        done = self.agent("run", f"{APP}/leader", "submit", f"app={self.script}", f"args={json.dumps([argument])}", *more,
                          "--timeout", PATIENCE, "--format", "json", check=False)
        return done.stdout.replace("\\n", "\n") + done.stderr

    def run(self, names):
        seen = self.observe(names, self.submit)
        if seen.get("event_log") is True:
            seen["event_log"] = self.in_history() or "the history server does not show the application"
        return seen

    def in_history(self):
        url = f"http://127.0.0.1:{self.history}/api/v1/applications/{self.application}"
        try:
            return until("history", lambda: any(each["completed"] for each in (ask(url) or {}).get("attempts", [])), 60)
        except RuntimeError:
            return False

    def end(self):
        remove(self.agent, APP)


class ByHand(Attempt):
    """`spark-submit` on a copy of the tree, with executors of their own below the driver."""

    def __init__(self, home, java, python, folder, hdfs: Hdfs, base, properties, jars):
        super().__init__(folder, hdfs, base, properties)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="hand-", dir=folder))
        self.home, self.java, self.python, self.jars = home, java, python, jars
        self.configuration = hdfs.configuration(self.work / "conf")
        (self.configuration / "log4j.properties").write_text("log4j.rootLogger=WARN,c\nlog4j.appender.c=org.apache.log4j.ConsoleAppender\n"
                                                             "log4j.appender.c.target=System.err\n"
                                                             "log4j.appender.c.layout=org.apache.log4j.SimpleLayout\n")

    def submit(self, argument):
        logs = f"{self.base}-logs"
        self.hdfs.folder(logs)
        properties = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": self.hdfs.uri + logs, "spark.ui.enabled": "false",
                      "spark.executor.extraClassPath": f"{self.jars}/*", "spark.executor.memory": "512m",
                      "spark.executor.extraJavaOptions": QUICK, **self.properties}
        command = [self.home / "bin/spark-submit", "--master", "local-cluster[1,1,512]", "--driver-class-path", f"{self.jars}/*",
                   "--driver-java-options", QUICK]
        for word in words(properties):
            command += ["--conf", word]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.work), "JAVA_HOME": str(self.java), "SPARK_HOME": str(self.home),
                       "HADOOP_CONF_DIR": str(self.configuration), "SPARK_CONF_DIR": str(self.configuration), "SPARK_LOCAL_IP": "127.0.0.1",
                       "SPARK_LOCAL_DIRS": str(self.work / "local"), "PYSPARK_PYTHON": str(self.python),
                       "PYSPARK_DRIVER_PYTHON": str(self.python), "HADOOP_USER_NAME": self.hdfs.superuser, "LANG": "C.UTF-8"}
        log = self.work / "driver.log"
        with open(log, "wb") as out:
            driver = subprocess.Popen([*command, HERE / "workloads.py", argument], env=environment, stdin=subprocess.DEVNULL,
                                      stdout=out, stderr=out, start_new_session=True, cwd=self.work)
            try:
                driver.wait(300)
            except subprocess.TimeoutExpired:
                pass
            # Executors of a driver that was killed.
            try:
                os.killpg(driver.pid, 9)
            except ProcessLookupError:
                pass
            driver.wait()
        return log.read_text(errors="replace")

    def run(self, names):
        return self.observe(names, self.submit)

    def end(self):
        shutil.rmtree(self.work, ignore_errors=True)
