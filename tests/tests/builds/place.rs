//! An agent with a service that runs from a build, and room for more builds beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stoker_tests::checker::violations;
use stoker_tests::{payload_folder, tar, until, until_seen};

use crate::victim::Victim;

pub(crate) struct Place {
    pub(crate) victim: Victim,
    made: u32,
}

impl Place {
    /// An agent that is up, with `echo` active on a build of its own. What is unused is collected at once.
    pub(crate) fn new() -> Self {
        Self::on(Victim::new())
    }

    /// The same with a folder that something was done to before.
    pub(crate) fn on(victim: Victim) -> Self {
        let drop_ins = victim.dir().join("stoker.toml.d");
        fs::create_dir_all(&drop_ins).expect("a folder");
        fs::write(drop_ins.join("gc.toml"), "[gc]\nkeep-unused = \"0s\"\n").expect("settings");
        let mut place = Self { victim, made: 0 };
        assert!(place.victim.start(None), "the agent does not start");
        let archive = place.archive();
        let resource = format!("payload={}", archive.display());
        place.ok(&["deploy", "py-echo", "echo", "--resource", &resource, "--wait", "--timeout", "60s"]);
        place
    }

    /// A new archive: some files that all have, one large one of its own.
    pub(crate) fn archive(&mut self) -> PathBuf {
        self.made += 1;
        let folder = self.victim.beside().join(format!("payload-{}", self.made));
        payload_folder(&folder, &self.made.to_string());
        fs::write(folder.join("data/large"), noise(u64::from(self.made), 700_000)).expect("a file");
        let archive = folder.with_extension("tar.gz");
        tar(&folder, &archive);
        archive
    }

    /// Runs a command that must end well.
    #[track_caller]
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let said = self.victim.cli(words);
        assert!(said.ok, "{words:?}: {}\n{}", said.text, self.victim.log_end());
        said.text
    }

    /// What a command prints as JSON.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let said = self.ok(&[words, &["--format", "json", "--quiet"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"))
    }

    pub(crate) fn builds(&self) -> PathBuf {
        self.victim.dir().join("builds")
    }

    /// The tree that the service runs from.
    pub(crate) fn tree(&self) -> PathBuf {
        let unit = self.json(&["show-unit", "echo/0"]);
        let digest = unit["echo/0"]["trees"]["payload"].as_str().expect("a tree").trim_start_matches("b3:");
        self.builds().join("trees").join(digest)
    }

    /// Ends the agent where it still runs, starts it again, and waits until it is at rest.
    pub(crate) fn again(&mut self) {
        if !self.victim.dead() {
            self.victim.kill();
        }
        assert!(self.victim.start(None), "the agent does not start: {}", self.victim.log_end());
        self.ok(&["wait", "--timeout", "60s"]);
    }

    /// All that must hold after a fault: every build verifies, nothing half made is left, the service is active.
    #[track_caller]
    pub(crate) fn check(&self, why: &str) {
        until("nothing is left below incoming", || {
            fs::read_dir(self.builds().join("incoming")).is_ok_and(|entries| entries.count() == 0)
        });
        let verified = self.json(&["builds", "verify"]);
        assert_eq!(verified["damage"], serde_json::json!([]), "{why}");
        let status = self.json(&["status"]);
        let unit = &status["applications"]["echo"]["units"]["echo/0"];
        assert_eq!(unit["workload-status"]["current"], "active", "{why}: {unit}");
        let violations = || violations(self.victim.dir());
        until_seen(&format!("{why}: it comes to rest"), violations, Vec::is_empty);
    }

    /// Digests of all builds with a record.
    pub(crate) fn recorded(&self) -> Vec<String> {
        let builds = self.json(&["builds", "list"]);
        let digest = |build: &Value| build["digest"].as_str().unwrap_or_default().to_owned();
        builds.as_array().expect("a list").iter().map(digest).collect()
    }
}

/// Writes through a file's name whatever its mode: in a tree that is the blob itself.
pub(crate) fn spoil(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::write(path, bytes).expect("other content");
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).expect("a mode");
}

/// Bytes that do not pack and differ from seed to seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
