"""What benches are run with: staged programs, trees of real builds, interpreters; made once and kept in the cache.

Owns where they are and how they are made: by `packaging/stage`, and by the recipes through an agent of the cache's own.
It must not measure anything.
"""
import fcntl, json, os, pathlib, re, shutil, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "stoker"
# Services of a bench run as users of their own: what they run must be where these may come in.
KEPT = pathlib.Path("/var/tmp/stoker-bench") if os.geteuid() == 0 else CACHE / "bench"


def talk(text):
    print(text, file=sys.stderr, flush=True)


def program(given=None):
    """The folder of a release build's programs: the one that was given, or one staged from this checkout."""
    if given:
        return pathlib.Path(given).resolve()
    target = os.environ.get("CARGO_TARGET_DIR") or CACHE / "target"
    talk("staging a release build")
    subprocess.run([ROOT / "packaging/stage", KEPT / "program"], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "CARGO_TARGET_DIR": str(target), "STOKER_PROFILE": "release"})
    return KEPT / "program/bin"


class Agent:
    """An agent in a folder; `with` ends it and what it runs."""

    def __init__(self, bin_dir, folder):
        self.bin, self.dir = pathlib.Path(bin_dir) / "stoker", pathlib.Path(folder)
        self.log = open(self.dir.with_suffix(".log"), "ab")
        # Another bench's agent there would be ended with this one's. No child has this file.
        self.turn = open(self.dir.with_suffix(".turn"), "ab")
        try:
            fcntl.flock(self.turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            talk(f"waiting for another bench in {self.dir}")
            fcntl.flock(self.turn, fcntl.LOCK_EX)
        self.process = subprocess.Popen([self.bin, "agent", "--dir", self.dir], stdout=self.log, stderr=self.log,
                                        start_new_session=True)
        end = time.monotonic() + 60
        while self("builds", check=False).returncode:
            if time.monotonic() > end or self.process.poll() is not None:
                raise SystemExit(f"the agent does not come up: {self.log.name}")
            time.sleep(0.05)

    def __call__(self, *words, check=True):
        done = subprocess.run([self.bin, "--dir", self.dir, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if check and done.returncode:
            raise SystemExit(f"stoker {' '.join(map(str, words))}: exit {done.returncode}\n{done.stderr}\n{done.stdout}")
        return done

    def asked(self, *words):
        return json.loads(self(*words, "--format", "json").stdout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self("down", check=False)
        self.process.wait(120)
        self.log.close()
        self.turn.close()


def builds(agent, wanted):
    """Home folders of builds in an agent: (charm, `recipe:VERSION`) → path. What it has already is not made again."""
    found = {}
    for charm, source in wanted:
        there = [build["digest"] for build in agent.asked("builds", "list")
                 if build["source"] == source and build["facts"].get("product") == charm]
        if not there:
            talk(f"{charm} {source}")
        digest = there[0] if there else agent.asked("builds", "add", source, "--charm", charm)["digest"]
        found[charm, source] = agent.dir / "builds/trees" / re.sub(r"^.*:", "", digest)
    return found


def trees(bin_dir, wanted):
    """Home folders of builds: (charm, source) → path, where a source is a folder already or `recipe:VERSION`."""
    found = {key: pathlib.Path(key[1]).resolve() for key in wanted if not key[1].startswith("recipe:")}
    if len(found) < len(wanted):
        with Agent(bin_dir, kept()) as agent:
            found.update(builds(agent, [key for key in wanted if key not in found]))
    for key, path in found.items():
        if not path.is_dir():
            raise SystemExit(f"{' '.join(key)} is not there as a folder: {path}")
    return found


def kept():
    """The folder of the cache's agent."""
    folder = KEPT / "builds"
    folder.mkdir(parents=True, exist_ok=True)
    for each in (KEPT, folder):
        each.chmod(0o755)
    return folder


def swapped(spark, hadoop, out):
    """Spark's tree by links, with the Hadoop client of another build (None: its own): what stoker makes, by hand."""
    subprocess.run(["cp", "-al", spark, out], check=True)
    subprocess.run(["find", out, "-type", "d", "-exec", "chmod", "u+w", "{}", "+"], check=True)
    if hadoop:
        for jar in list((pathlib.Path(out) / "jars").glob("hadoop-client-*.jar")):
            jar.unlink()
        for jar in pathlib.Path(hadoop, "share/hadoop/client").glob("hadoop-client-*.jar"):
            os.link(jar, pathlib.Path(out) / "jars" / jar.name)
    return out


def python(version):
    """This machine's Python of a version as a folder that may be moved and read by all, kept; None without one."""
    place = KEPT / "python" / version
    if place.is_dir():
        return place
    found = sorted(pathlib.Path.home().glob(f".pyenv/versions/{version}*/bin/python3"))
    program = next((str(path) for path in found if path.is_file()), None) or shutil.which(f"python{version}")
    if not program:
        return None
    asked = "import sys; print(sys.base_prefix); print('%d.%d' % sys.version_info[:2])"
    prefix, minor = subprocess.run([program, "-c", asked], check=True, capture_output=True, text=True).stdout.split()
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = pathlib.Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
    fresh.chmod(0o755)
    name = f"python{minor}"
    left_out = shutil.ignore_patterns("test", "tests", "__pycache__", "site-packages", "dist-packages", "config-*", "idlelib", "*.a")
    shutil.copytree(f"{prefix}/lib/{name}", fresh / "lib" / name, symlinks=True, ignore=left_out)
    for library in pathlib.Path(prefix, "lib").glob(f"lib{name}.so*"):
        shutil.copy(library, fresh / "lib", follow_symlinks=False)
    (fresh / "bin").mkdir()
    shutil.copy(f"{prefix}/bin/{name}", fresh / "bin" / name)
    # Wherever it lies, it finds its own library.
    start = fresh / "bin/python3"
    start.write_text(f'#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")\nLD_LIBRARY_PATH=$here/../lib exec "$here/{name}" "$@"\n')
    start.chmod(0o755)
    fresh.rename(place)
    return place
