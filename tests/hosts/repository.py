"""Packages for hosts of the lab: later versions of one, and a signed repository that hands them out.

Owns how they are made for tests; packaging/apt makes the repository itself. It must not check anything.
"""
import functools
import http.server
import os
import pathlib
import re
import subprocess
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def newer(deb, version, work):
    """A later package: the same programs; another text in its settings."""
    folder = work / f"later-{version}"
    run("dpkg-deb", "--raw-extract", deb, folder)
    text = (folder / "DEBIAN/control").read_text()
    (folder / "DEBIAN/control").write_text(re.sub(r"^Version: .*", f"Version: {version}", text, flags=re.MULTILINE))
    with (folder / "etc/stoker/stoker.toml").open("a") as file:
        file.write(f"# As of {version}.\n")
    made = work / f"stoker_{version}_amd64.deb"
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", folder, made)
    return made


class Repository:
    """A signed repository, handed out by a web server at the lab's gateway."""

    def __init__(self, work):
        self.folder, self.home = work / "repository", work / "gnupg"
        self.home.mkdir(mode=0o700)
        self.env = {**os.environ, "GNUPGHOME": str(self.home)}
        self.keys = {name: self.key(name) for name in ("ours", "theirs")}
        self.url = None

    def key(self, name):
        run("gpg", "--batch", "--passphrase", "", "--quick-gen-key", f"{name} <{name}@stoker.example>", "ed25519", "sign", "never", env=self.env)
        listed = run("gpg", "--batch", "--with-colons", "--list-keys", f"{name}@stoker.example", env=self.env).stdout
        return re.search(r"^fpr:+([0-9A-F]+):", listed, re.MULTILINE)[1]

    def serve(self, address):
        quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
        self.folder.mkdir()
        self.server = http.server.ThreadingHTTPServer((address, 0), functools.partial(quiet, directory=self.folder))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://{address}:{self.server.server_port}"

    def make(self, *debs, at, valid=14):
        run(ROOT / "packaging/apt", self.folder, "--url", self.url, "--key", self.keys["ours"], "--valid", valid, *debs,
            env={**self.env, "SOURCE_DATE_EPOCH": str(int(at))})

    def sign(self, name):
        gpg = ("gpg", "--batch", "--yes", "--local-user", self.keys[name])
        run(*gpg, "--clearsign", "--output", self.dists / "InRelease", self.dists / "Release", env=self.env)
        run(*gpg, "--armor", "--detach-sign", "--output", self.dists / "Release.gpg", self.dists / "Release", env=self.env)

    @property
    def dists(self):
        return self.folder / "dists/stable"
