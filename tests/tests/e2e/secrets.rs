//! Generated secrets: made once, the same for all who may have them, and nowhere in clear.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use stoker_tests::{Agent, command_line, environment, until_seen};

#[test]
fn a_generated_secret_stays_the_same_and_is_nowhere_in_clear() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo -n 2 --config secret=true");
    let token = token_of(&agent, "echo-0-echo");
    assert!(token.len() == 64 && token.chars().all(|c| c.is_ascii_hexdigit()), "a hex32 secret");
    assert_eq!(token_of(&agent, "echo-1-echo"), token, "one for the application");

    agent.ok("deploy py-peer peer --config token=true");
    agent.ok("integrate peer echo --wait");
    agent.until_status("peer/0", "active: heard: hello");
    assert_eq!(token_of(&agent, "peer-0-ear"), token, "granted over the relation");

    agent.ok("restart echo/0 --wait");
    assert_eq!(token_of(&agent, "echo-0-echo"), token);
    agent.kill9();
    agent.resume();
    agent.ok("restart echo/1 --wait");
    assert_eq!(token_of(&agent, "echo-1-echo"), token);

    for line in [
        "show-plan echo/0",
        "show-plan peer/0",
        "status",
        "show-unit echo/0 peer/0",
        "why echo",
        "releases echo",
        "logs echo",
        "debug-log",
    ] {
        let shown = agent.cli(line);
        assert!(!shown.stdout.contains(&token) && !shown.stderr.contains(&token), "{line} shows the secret");
    }
    let status = agent.status().to_string();
    assert!(!status.contains(&token), "status shows the secret");
    for process in agent.processes().values() {
        assert!(!command_line(process.pid).contains(&token), "in the command line of {}", process.service);
    }
    agent.term();
    let mut clear = Vec::new();
    search(agent.dir(), token.as_bytes(), &mut clear);
    for path in clear {
        let found = fs::metadata(&path).unwrap();
        let mode = found.permissions().mode() & 0o777;
        let shown = path.strip_prefix(agent.dir()).unwrap().display().to_string();
        assert!(mode == 0o600, "{shown} has the secret, and mode {mode:o}");
        assert!(shown.starts_with("services/") || shown.starts_with("models/"), "{shown} has the secret");
        assert!(!shown.ends_with("log"), "{shown} has the secret");
    }
    let key = fs::metadata(agent.dir().join("secret.key")).unwrap();
    assert_eq!((key.permissions().mode() & 0o777, key.uid()), (0o600, nix_uid()));
    agent.resume();

    // Another application's is another one.
    agent.deploy("py-echo other --config secret=true");
    assert_ne!(token_of(&agent, "other-0-echo"), token);
}

fn nix_uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

fn token_of(agent: &Agent, service: &str) -> String {
    let look = || agent.processes().get(service).and_then(|process| environment(process.pid).remove("TOKEN"));
    until_seen(&format!("{service} has its token"), look, Option::is_some).unwrap()
}

/// Files below `folder` that have `bytes` in them.
fn search(folder: &Path, bytes: &[u8], found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            search(&entry.path(), bytes, found);
        } else if kind.is_file()
            && fs::read(entry.path()).unwrap_or_default().windows(bytes.len()).any(|window| window == bytes)
        {
            found.push(entry.path());
        }
    }
}
