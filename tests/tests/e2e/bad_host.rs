//! What a host can do to a unit: ports taken, disks full, folders gone, databases damaged. Nothing is lost, and all
//! is well once the cause is gone.

use std::fs;
use std::process::Command;

use rusqlite::Connection;
use stoker_tests::{Agent, Folder, is_root, payload_folder, stranger_on, until_seen};

#[test]
fn a_port_taken_by_a_stranger_blocks_and_says_by_whom() {
    let agent = Agent::start();
    agent.deploy("py-echo echo");
    let port = agent.port("echo/0");
    agent.ok("stop echo/0 --wait");
    let stranger = stranger_on(agent.address(), port);
    agent.ok("start echo/0");
    let look = || agent.unit_status("echo/0");
    let own = std::process::id().to_string();
    until_seen("it is blocked, and says by whom", look, |status| {
        status.starts_with("blocked") && status.contains(&port.to_string()) && status.contains(&own)
    });
    assert!(!agent.processes().contains_key("echo-0-echo"));
    assert_eq!(agent.ports("echo/0"), [port], "never moved in silence");
    let why = agent.ok("why echo/0").stdout;
    assert!(why.contains("fix: ") && why.contains(&own), "{why}");
    drop(stranger);
    agent.until_status("echo/0", "active");
    assert_eq!(agent.about("echo/0")["unit"], "echo/0");

    // Wanted by a plan and taken before it was allotted: another one, since it was only preferred.
    let stranger = stranger_on(agent.address(), 0);
    let taken = stranger.local_addr().unwrap().port();
    agent.ok(&format!("deploy py-echo second --config port={taken} --wait --timeout 60s"));
    assert_ne!(agent.port("second/0"), taken);
}

#[test]
fn data_that_is_gone_blocks_and_nothing_is_made_in_its_place() {
    let agent = Agent::start();
    let place = agent.beside("disk");
    fs::create_dir(&place).unwrap();
    fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let data = place.join("data");
    agent.deploy(&format!("py-echo echo --config data-path={}", data.display()));
    let before = agent.processes();
    fs::write(data.join("precious"), "kept").unwrap();

    // The mount is missing: an empty folder is there instead, or none at all.
    let away = agent.beside("away");
    fs::rename(&data, &away).unwrap();
    for empty in [false, true] {
        if empty {
            fs::create_dir_all(&data).unwrap();
        }
        agent.ok(&format!("config echo text=new-{empty}"));
        let look = || agent.unit_status("echo/0");
        let status = until_seen("it is blocked", look, |status| status.starts_with("blocked"));
        assert!(status.contains("data") && status.contains("disk/data"), "{status}");
        assert_eq!(agent.processes(), before, "what runs is left alone");
        let made = fs::read_dir(&data).map_or(0, Iterator::count);
        assert_eq!(made, 0, "nothing is made in its place");
    }
    fs::remove_dir(&data).unwrap();
    fs::rename(&away, &data).unwrap();
    agent.until_status("echo/0", "active");
    assert_eq!(agent.about("echo/0")["text"], "new-true");
    assert_eq!(fs::read_to_string(data.join("precious")).unwrap(), "kept");
    // What was somewhere else stays there.
    agent.ok("remove-application echo --yes --wait --timeout 60s");
    assert_eq!(fs::read_to_string(data.join("precious")).unwrap(), "kept");
}

#[test]
fn a_missing_resource_blocks_until_it_is_attached() {
    let agent = Agent::start();
    // As py-echo, but it cannot do without its payload.
    let folder = agent.beside("strict");
    let copied =
        Command::new("cp").arg("-r").arg(stoker_tests::charms().join("py-echo")).arg(&folder).status();
    assert!(copied.unwrap().success());
    let text = fs::read_to_string(folder.join("charm.toml")).unwrap();
    let strict = text.replace("[resources.payload]\n", "[resources.payload]\nrequired = true\n");
    fs::write(folder.join("charm.toml"), strict).unwrap();
    agent
        .ok(&format!("deploy {} echo --wait --timeout 60s", folder.display()))
        .says(&["blocked", "attach payload"]);
    assert_eq!(agent.unit_status("echo/0"), "blocked: attach payload");
    let why = agent.ok("why echo").stdout;
    assert!(why.contains("fix: stoker attach-resource echo payload=SOURCE"), "{why}");
    agent.cli("wait echo --fail-on-blocked").exits(1).is_problem();
    assert!(agent.ok("resources echo").stdout.contains("required"), "it is said in the list");
    agent.ok("attach-resource echo payload=recipe:1.0 --wait --timeout 60s");
    assert_eq!(agent.unit_status("echo/0"), "active");
    assert_eq!(agent.about("echo/0")["payload"], "1.0");
}

#[test]
fn a_damaged_or_newer_database_is_refused_and_a_copy_heals() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo");
    let before = agent.processes();
    for name in ["model.db", "agent.db"] {
        let path = agent.dir().join(name);
        let logs: Vec<_> =
            ["-wal", "-shm"].iter().map(|end| agent.dir().join(format!("{name}{end}"))).collect();
        agent.term();
        // All of it in one file, and a copy of that.
        Connection::open(&path).unwrap().execute_batch("pragma wal_checkpoint(truncate)").unwrap();
        let good = fs::read(&path).unwrap();
        let heal = |agent: &mut Agent| {
            for log in &logs {
                let _ = fs::remove_file(log);
            }
            fs::write(&path, &good).unwrap();
            agent.resume();
            agent.ok("wait --for active --timeout 60s");
            agent.term();
        };

        // Overwritten in the middle, cut off, no database at all.
        let mut torn = good.clone();
        let middle = torn.len() / 2;
        torn[4096..].fill(0x5a);
        for bad in
            [torn, good[..middle].to_vec(), b"this is no database, and long enough to be looked at".to_vec()]
        {
            for log in &logs {
                let _ = fs::remove_file(log);
            }
            fs::write(&path, &bad).unwrap();
            agent.refused().exits(1).is_problem().says(&[name, "ST0011"]);
            assert_eq!(fs::read(&path).unwrap(), bad, "it is left as it was found");
            assert_eq!(agent.processes(), before, "services go on");
        }
        heal(&mut agent);

        // Of a later version of stoker.
        let newer = Connection::open(&path).unwrap();
        let version: i64 = newer.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert!(version > 0, "{name} has a version");
        newer.pragma_update(None, "user_version", version + 1).unwrap();
        drop(newer);
        agent.refused().exits(1).is_problem().says(&[name, "knows formats up to", "ST0011"]);
        assert_eq!(agent.processes(), before, "services go on");
        heal(&mut agent);
        agent.resume();
    }
    agent.ok("wait --for active --timeout 60s");
    assert_eq!(agent.processes(), before);
}

/// A small file system in memory, taken away in the end.
struct Small(Folder);

impl Small {
    fn new(size: &str) -> Self {
        let folder = Folder::new();
        let options = format!("size={size},mode=0755");
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).status();
        assert!(done.unwrap().success(), "cannot mount a tmpfs");
        Self(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_one_clear_error_and_heals() {
    if !is_root() {
        eprintln!("skipped: only root can mount a small file system");
        return;
    }
    let small = Small::new("24m");
    let mut agent = Agent::at(&small.0.path().join("D"));
    agent.resume();
    agent.deploy("py-echo echo --resource payload=recipe:1.0");
    let before = agent.processes();
    let builds = agent.json("builds");

    // More than there is room for: refused, nothing of it stays.
    let outside = Folder::new();
    let large = outside.path().join("large");
    payload_folder(&large, "2");
    fs::write(large.join("data/large"), vec![7; 40 << 20]).unwrap();
    for line in [
        format!("attach-resource echo payload={}", large.display()),
        format!("builds add {}", large.display()),
    ] {
        agent.cli(&line).exits(1).is_problem().says(&["ST0018"]);
    }
    assert_eq!(agent.json("builds"), builds);
    assert_eq!(agent.unit_status("echo/0"), "active");

    // No room for anything at all.
    let filler = small.0.path().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    drop(file);
    let refused = agent.cli("config echo text=full --wait --timeout 20s");
    assert!(refused.code == 1 || refused.code == 8, "{refused:?}");
    refused.is_problem();
    assert_eq!(agent.processes(), before, "services go on");
    agent.ok("status");
    fs::remove_file(&filler).unwrap();
    until_seen(
        "it goes on once there is room",
        || agent.cli("config echo text=room --wait --timeout 60s"),
        |done| done.code == 0,
    );
    agent.until_status("echo/0", "active");
    assert_eq!(agent.about("echo/0")["text"], "room");
    // An agent that starts on a full disk says so, or serves.
    agent.term();
    agent.resume();
    agent.ok("wait --for active --timeout 60s");
    drop(agent);
}
