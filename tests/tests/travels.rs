//! Builds that come from the web, and builds that go from one agent to another.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use stoker_tests::{Agent, Folder, payload_folder, tar};

/// Serves a folder over TLS on 127.0.0.1, prints its port, then a line a request.
const SERVER: &str = "
import functools, http.server, ssl, sys
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        print(self.path, flush=True)
        if self.path == '/inside':
            self.send_response(302)
            self.send_header('Location', 'https://10.0.0.1/x')
            self.end_headers()
        else:
            super().do_GET()
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=sys.argv[1]))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
";

struct Web {
    child: Child,
    port: u16,
    ca: PathBuf,
    folder: Folder,
}

impl Web {
    fn start() -> Self {
        let folder = Folder::new();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        let (ca_file, chain, files) =
            (folder.path().join("ca.pem"), folder.path().join("chain.pem"), folder.path().join("files"));
        fs::write(&ca_file, ca.pem()).unwrap();
        fs::write(&chain, format!("{}{}", leaf.pem(), key.serialize_pem())).unwrap();
        fs::create_dir(&files).unwrap();
        let mut child = Command::new("/usr/bin/python3")
            .args(["-u", "-c", SERVER])
            .args([&files, &chain])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let mut said = BufReader::with_capacity(1, child.stdout.take().unwrap());
        said.read_line(&mut port).unwrap();
        child.stdout = Some(said.into_inner());
        Self { child, port: port.trim().parse().unwrap(), ca: ca_file, folder }
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    fn link(&self, path: &str, sum: &str) -> String {
        format!("https://127.0.0.1:{}/{path}#{sum}", self.port)
    }

    /// Ends; what was asked for.
    fn asked(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.child.wait().unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn sum(kind: &str, file: &Path) -> String {
    let done = Command::new(format!("{kind}sum")).arg(file).output().unwrap();
    format!("{kind}={}", String::from_utf8(done.stdout).unwrap().split(' ').next().unwrap())
}

#[test]
fn a_build_comes_from_a_link_and_only_as_what_its_digest_says() {
    let web = Web::start();
    let folder = web.folder.path().join("payload-2.0");
    payload_folder(&folder, "2.0");
    let archive = web.files().join("payload.tar.gz");
    tar(&folder, &archive);
    let mut agent = Agent::start();
    let link = web.link("payload.tar.gz", &sum("sha512", &archive));

    // This host is private, as long as nobody names it.
    let said = agent.cli(&format!("builds add {link}")).exits(1).is_problem();
    said.says(&["[ST0027]", "is at 127.0.0.1, this host", "sources.allow-private"]);
    agent.term();
    agent.settings(&format!(
        "[sources]\nallow-private = [\"127.0.0.1\"]\nca-file = \"{}\"\n",
        web.ca.display()
    ));
    agent.resume();

    for (link, code, says) in [
        (web.link("payload.tar.gz", ""), 2, "[ST0026]"),
        (web.link("payload.tar.gz", "sha1=00"), 2, "[ST0026]"),
        (link.replace("https:", "http:"), 2, "only https"),
        (link.replace("https://", "https://me:secret@"), 2, "user or password"),
        (web.link("payload.tar.gz", &format!("sha256={}", "0".repeat(64))), 1, "[ST0029]"),
        (web.link("none", &sum("sha256", &archive)), 1, "answers 404"),
        (web.link("inside", &sum("sha256", &archive)), 1, "[ST0027]"),
    ] {
        let said = agent.cli(&format!("builds add {link}")).exits(code).is_problem().says(&[says]);
        assert!(!said.stderr.contains("secret"), "{said:?}");
        assert_eq!(agent.json("builds list").as_array().unwrap().len(), 0, "{link}");
    }
    let incoming = || fs::read_dir(agent.dir().join("builds/incoming")).unwrap().count();
    assert_eq!(incoming(), 0);

    agent.deploy(&format!("py-echo echo --resource payload={link}"));
    assert_eq!(agent.about("echo/0")["payload"], "2.0");
    let builds = agent.json("builds list");
    let build = builds.as_array().unwrap().iter().find(|b| b["facts"]["version"] == "2.0").unwrap().clone();
    assert_eq!(build["source"], link.as_str());
    // A digest that is known is not fetched, wherever it is said to be.
    let releases = agent.json("releases echo");
    let elsewhere = link.replace("payload.tar.gz", "moved.tar.gz?key=k");
    agent.ok(&format!("attach-resource echo payload={elsewhere} --wait --timeout 60s"));
    assert_eq!(agent.json("releases echo"), releases);
    assert_eq!(incoming(), 0);
    let asked = web.asked();
    assert_eq!(asked.iter().filter(|path| path.starts_with("/moved")).count(), 0, "{asked:?}");
    assert_eq!(asked.iter().filter(|path| *path == "/payload.tar.gz").count(), 2, "{asked:?}");
}

fn export(agent: &Agent, words: &str, to: &Path) {
    agent.ok(&format!("builds export {words} -o {}", to.display()));
}

#[test]
fn a_build_goes_to_another_agent_and_the_next_version_as_what_differs() {
    let (here, there) = (Agent::start(), Agent::start());
    let mut digests = Vec::new();
    for version in ["1.0", "1.1"] {
        let folder = here.beside(&format!("payload-{version}"));
        payload_folder(&folder, version);
        // Something that hardly differs, and would be large.
        let mut large: Vec<u8> =
            (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        large.extend_from_slice(version.as_bytes());
        fs::write(folder.join(format!("data/large-{version}.jar")), large).unwrap();
        let added = here.json(&format!("builds add {}", folder.display()));
        digests.push(added["digest"].as_str().unwrap().to_owned());
    }
    let (full, next) = (here.beside("full.build"), here.beside("next.build"));
    export(&here, &digests[0], &full);
    export(&here, &format!("{} --since {}", &digests[1][..16], digests[0]), &next);
    assert!(fs::metadata(&full).unwrap().len() > 700_000);
    assert!(fs::metadata(&next).unwrap().len() < 10_000);

    // The base is missing: said with its name, and nothing is there.
    let said = there.cli(&format!("builds import {}", next.display())).exits(1).is_problem();
    said.says(&["[ST0031]", digests[0].as_str(), "import build"]);
    let bytes = fs::read(&full).unwrap();
    let bad = here.beside("bad.build");
    for (text, says) in [
        (&bytes[..bytes.len() / 2], "ends after"),
        (&b"something else that is long enough"[..], "no export"),
        (&[&bytes[..], b"x"].concat(), "follows its end mark"),
    ] {
        fs::write(&bad, text).unwrap();
        there
            .cli(&format!("builds import {}", bad.display()))
            .exits(1)
            .is_problem()
            .says(&["[ST0031]", says]);
    }
    assert_eq!(there.json("builds list").as_array().unwrap().len(), 0);

    let imported = there.json(&format!("builds import {}", full.display()));
    assert_eq!(
        (&imported["digest"], &imported["facts"]["version"]),
        (&digests[0].as_str().into(), &"1.0".into())
    );
    assert!(imported["source"].as_str().unwrap().starts_with("import of /"), "{imported}");
    let imported = there.json(&format!("builds import {}", next.display()));
    assert_eq!(imported["facts"]["version"], "1.1");
    // Once more changes nothing.
    let list = there.json("builds list");
    assert_eq!(there.json(&format!("builds import {}", next.display()))["new_bytes"], 0);
    assert_eq!(there.json("builds list"), list);
    there.ok("builds verify");
    there.deploy(&format!("py-echo echo --resource payload=build:{}", digests[1]));
    assert_eq!(there.about("echo/0")["payload"], "1.1");

    here.cli("builds export b3:0000000000").exits(5).is_problem();
    here.cli(&format!("builds export {} --since b3:0000000000 -o {}", digests[0], bad.display()))
        .exits(5)
        .is_problem();
    // By pipes, from one program to the other.
    let third = Agent::start();
    let mut sending = here.spawn(&format!("builds export {}", digests[0]));
    let done = Command::new(stoker_tests::program("stoker"))
        .args(["--dir".as_ref(), third.dir(), "builds".as_ref(), "import".as_ref()])
        .stdin(sending.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(sending.wait().unwrap().success());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(third.json("builds list")[0]["digest"], digests[0].as_str());
}
