"""What benches are run with: staged programs, and trees of real builds, made once and kept in the cache.

Owns where they are and how they are made: by `packaging/stage`, and by the recipes through an agent of the cache's own.
It must not measure anything.
"""
import json, os, pathlib, re, subprocess, sys, time

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


def trees(bin_dir, wanted):
    """Home folders of builds: (charm, source) → path, where a source is a folder already or `recipe:VERSION`."""
    found = {key: pathlib.Path(key[1]).resolve() for key in wanted if not key[1].startswith("recipe:")}
    if len(found) < len(wanted):
        KEPT.mkdir(parents=True, exist_ok=True)
        KEPT.chmod(0o755)
        (KEPT / "builds").mkdir(exist_ok=True)
        (KEPT / "builds").chmod(0o755)
        with Agent(bin_dir, KEPT / "builds") as agent:
            for charm, source in [key for key in wanted if key not in found]:
                talk(f"{charm} {source}")
                there = [build["digest"] for build in agent.asked("builds", "list") if build["source"] == source]
                digest = there[0] if there else agent.asked("builds", "add", source, "--charm", charm)["digest"]
                found[charm, source] = KEPT / "builds/builds/trees" / re.sub(r"^.*:", "", digest)
    for key, path in found.items():
        if not path.is_dir():
            raise SystemExit(f"{' '.join(key)} is not there as a folder: {path}")
    return found
