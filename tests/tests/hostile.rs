//! Archives that somebody made to harm, through the command line and a running agent: each is refused with exit
//! status 1 and one message, nothing of it stays on the disk, and the agent's memory stays small all the while.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stoker_tests::Agent;

/// What refusing may take beside an agent at rest, in KiB. A released agent takes about 10 MiB at rest: less than 64 MiB
/// together. These tests run a build for development, which takes 30.
const PEAK: u64 = 48 * 1024;

fn corpus(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus").join(kind);
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(found.len() >= 20, "{found:?}");
    found
}

/// The words that each refusal must say, by the archive's name.
fn words() -> BTreeMap<String, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus/refused.txt");
    let text = fs::read_to_string(file).unwrap();
    text.lines().filter_map(|line| line.split_once(": ")).map(|(a, b)| (a.into(), b.into())).collect()
}

/// Everything below the builds' folder.
fn stored(agent: &Agent) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                walk(&path, found);
            }
            found.push(path);
        }
    }
    let mut found = Vec::new();
    walk(&agent.dir().join("builds"), &mut found);
    found.sort();
    found
}

/// The most memory that the agent ever had, in KiB.
fn peak(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// An agent that has taken in what it needs to judge a build: its charms are builds too.
fn agent() -> Agent {
    let agent = Agent::start();
    let good = corpus("accepted").into_iter().find(|path| path.ends_with("gz-plain")).unwrap();
    agent.words(&["builds", "add", good.to_str().unwrap()]).exits(0);
    agent
}

/// Gives the agent an archive that it must refuse; what it said comes out.
fn refuse(agent: &Agent, path: &Path) -> String {
    let before = stored(agent);
    let refused = agent.words(&["builds", "add", path.to_str().unwrap()]).exits(1).is_problem();
    assert_eq!(refused.stdout, "", "{refused:?}");
    assert!(
        refused.stderr.chars().all(|c| c == '\n' || !c.is_control()),
        "{}: {:?}",
        path.display(),
        refused.stderr
    );
    assert_eq!(stored(agent), before, "{} left something", path.display());
    refused.stderr
}

#[test]
fn each_is_refused_for_what_is_wrong_with_it_and_nothing_stays() {
    let agent = agent();
    let before = peak(&agent);
    let mut words = words();
    for path in corpus("refused") {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let said = refuse(&agent, &path);
        let word =
            words.remove(&name).unwrap_or_else(|| panic!("refused.txt says nothing of {name}: {said}"));
        assert!(said.contains(&word), "{name} was refused for another reason than `{word}`: {said}");
    }
    assert!(words.is_empty(), "there is no archive for {words:?}");
    for path in corpus("accepted") {
        agent.words(&["builds", "add", path.to_str().unwrap()]).exits(0);
    }
    assert!(peak(&agent) <= before + PEAK, "{} KiB, before {before}", peak(&agent));
}

/// A script for Python that writes an archive to the file it is given.
const BOMBS: &[(&str, &str, &str)] = &[
    // 700 MiB of zeros in under a MiB.
    ("times its own size", "zeros.tgz", "member(t, 'top/zeros', 700 << 20)"),
    // Said to be so large, whatever follows.
    ("limit of", "exbibytes.tgz", "member(t, 'top/x', 1 << 62)"),
    // More members than any build has, with names to fill the memory.
    ("limit of", "members.tgz", "[member(t, f'top/{n:060}', 0) for n in range(200_001)]"),
    // One extended header after the other.
    (
        "two names",
        "headers.tgz",
        "[header(t, './@LongLink', 400, b'K') or t.write(b'x' * 400 + bytes(112)) for n in range(4000)]",
    ),
    // No end of zeros after the end.
    (
        "after the end",
        "padding.tgz",
        "member(t, 'top/a', 1), t.write(bytes(1024)), [t.write(bytes(1 << 20)) for n in range(400)]",
    ),
    // A header as long as a disk.
    (
        "too long",
        "header.tgz",
        "header(t, 'x', 1 << 33, b'x'), [t.write(bytes(1 << 20)) for n in range(100)]",
    ),
];

const MAKER: &str = "
import gzip, sys
def header(t, name, size, kind=b'0'):
    h = bytearray(512)
    h[:len(name)] = name.encode()
    h[100:108], h[108:116], h[116:124], h[136:148] = b'0000644\\0', b'0000000\\0', b'0000000\\0', b'00000000000\\0'
    h[124:136] = b'\\x80\\0\\0\\0' + size.to_bytes(8, 'big')
    h[156:157], h[257:265], h[148:156] = kind, b'ustar\\x0000', b' ' * 8
    h[148:156] = b'%06o\\0 ' % sum(h)
    t.write(h)
def member(t, name, size):
    header(t, name, size)
    if size < 1 << 32:
        for n in range(size >> 20):
            t.write(bytes(1 << 20))
        t.write(bytes(-(-(size % (1 << 20)) // 512) * 512))
with gzip.open(sys.argv[1], 'wb', 1) as t:
    eval(sys.argv[2])
    t.write(bytes(1024))
";

#[test]
fn bombs_cost_neither_disk_nor_memory() {
    let agent = agent();
    let before = peak(&agent);
    for (word, name, script) in BOMBS {
        let path = agent.beside(name);
        let made =
            Command::new("/usr/bin/python3").args(["-c", MAKER]).arg(&path).arg(script).status().unwrap();
        assert!(made.success(), "{name}");
        let said = refuse(&agent, &path);
        assert!(said.contains(word), "{name}: {said}");
        assert!(peak(&agent) <= before + PEAK, "{name}: {} KiB, before {before}", peak(&agent));
        fs::remove_file(&path).unwrap();
    }
    // Packed again and again it is no archive of files at all.
    let nested = agent.beside("nested.tgz");
    let script = "import gzip, sys; d = b'x' * (1 << 20)\nfor n in range(6): d = gzip.compress(d)\nopen(sys.argv[1], 'wb').write(d)";
    assert!(Command::new("/usr/bin/python3").args(["-c", script]).arg(&nested).status().unwrap().success());
    assert!(refuse(&agent, &nested).contains("not an archive"));
    assert!(peak(&agent) <= before + PEAK, "{} KiB, before {before}", peak(&agent));
}
