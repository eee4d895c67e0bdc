//! A charm that goes wrong, in each way that it can: one clear status with evidence, services untouched, and all is
//! well once the cause is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use stoker_tests::{Agent, until_seen};

#[test]
fn a_charm_that_fails_leaves_services_alone_and_heals() {
    let agent = Agent::start();
    agent.deploy("py-echo echo");
    let before = agent.processes();
    for (fault, says, evidence) in [
        ("crash", "exit status 1", "the last line is the reason"),
        ("killed", "signal 9", ""),
        ("no-plan", "without handing over a plan", ""),
        ("garbage", "plan", ""),
        ("truncated", "plan", ""),
        ("not-an-object", "plan", ""),
        ("unknown-key", "did you mean `services`", ""),
        ("wrong-format", "format", ""),
        ("too-large", "262144", ""),
        ("too-much", "", ""),
        ("bad-reference", "htpt", ""),
        ("bad-type", "eighty", ""),
        ("generation", "the plan names none", ""),
        ("crash-after", "exit status 1", ""),
    ] {
        let change = agent.cli(&format!("config echo fault={fault} text={fault} --wait --timeout 60s"));
        assert_eq!(change.code, 1, "{change:?}");
        change.is_problem().says(&["echo/0"]);
        let status = agent.unit_status("echo/0");
        assert!(status.starts_with("error: ") && status.contains(says), "{fault}: {status}");
        let why = agent.ok("why echo/0").stdout;
        assert!(why.contains(evidence) && why.contains(says), "{fault}: {why}");
        assert_eq!(agent.processes(), before, "{fault} disturbed a service");
    }
    // The cause is gone.
    agent.config("echo --reset fault,text");
    assert_eq!(agent.unit_status("echo/0"), "active");
    assert_eq!(agent.processes(), before);

    // What is odd and no failure.
    for fault in ["chatty", "network", "write"] {
        agent.config(&format!("echo fault={fault}"));
        let status = agent.unit_status("echo/0");
        match fault {
            // The sandbox: no network, nothing to write to.
            "network" => assert_eq!(status, "active: network: unreachable"),
            "write" => assert_eq!(status, "active: wrote: nothing"),
            _ => assert_eq!(status, "active", "{fault}"),
        }
        assert_eq!(agent.processes(), before, "{fault} disturbed a service");
    }
    // The last of two plans is the plan: in it there is no service.
    agent.config("echo fault=twice");
    assert_eq!(agent.unit_status("echo/0"), "active: the second plan");
    assert!(agent.processes().is_empty(), "what is absent from a plan is removed");
    agent.config("echo --reset fault");
    let before = agent.processes();
    assert_eq!(before.len(), 1);

    // One that never settles is stopped, with its last differences.
    for fault in ["unsettled", "unsettled-app", "flapping"] {
        agent.ok(&format!("config echo fault={fault}"));
        let status = agent.until_status("echo/0", "error");
        assert!(status.contains("does not settle") && status.contains("state"), "{status}");
        agent.cli("wait echo --timeout 30s").exits(1).is_problem();
        assert_eq!(agent.processes(), before, "{fault} disturbed a service");
        agent.config("echo --reset fault");
        assert_eq!(agent.unit_status("echo/0"), "active");
    }
    // Data of a relation that are too large.
    agent.ok("deploy py-peer peer");
    agent.ok("integrate peer echo --wait --timeout 60s");
    agent.until_status("peer/0", "active");
    agent.cli("config echo publish=70000 --wait --timeout 60s").exits(1).is_problem();
    assert!(agent.unit_status("echo/0").contains("65536 bytes"), "{}", agent.unit_status("echo/0"));
    agent.config("echo --reset publish");
    assert_eq!(agent.unit_status("echo/0"), "active");
}

#[test]
fn a_charm_that_hangs_is_ended_with_all_it_started() {
    let agent = Agent::start();
    agent.deploy("py-echo echo");
    let before = agent.processes();
    agent.reload("[charm]\ntimeout = \"1s\"\n");
    for fault in ["hang", "hang-stubborn"] {
        agent.cli(&format!("config echo fault={fault} --wait --timeout 60s")).exits(1).is_problem();
        let status = agent.unit_status("echo/0");
        assert!(status.starts_with("error") && status.contains("did not end within 1s"), "{status}");
        assert_eq!(agent.processes(), before);
        let dispatch =
            |line: &String| line.contains("/dispatch") && line.contains(&*agent.dir().to_string_lossy());
        let look = || command_lines().into_iter().filter(dispatch).count();
        until_seen("nothing of the run is left", look, |left| *left == 0);
    }
    agent.reload("");
    agent.ok("config echo --reset fault");
    agent.until_status("echo/0", "active");
    assert_eq!(agent.processes(), before);
}

fn command_lines() -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.map(stoker_tests::command_line).collect()
}

#[test]
fn a_charm_that_cannot_be_read_is_refused() {
    let agent = Agent::start();
    let folder = agent.beside("charm");
    fs::create_dir_all(folder.join("bin")).unwrap();
    let dispatch = folder.join("bin/dispatch");
    fs::write(&dispatch, "#!/bin/sh\nexit 1\n").unwrap();
    let executable = |yes| {
        fs::set_permissions(&dispatch, fs::Permissions::from_mode(if yes { 0o755 } else { 0o644 })).unwrap();
    };
    executable(true);
    let good = "format = 1\nname = \"odd\"\nsummary = \"x\"\nassumes = \"stoker >= 0.1\"\n[programs]\ndispatch = \"bin/dispatch\"\n";
    let path = folder.display();
    for (text, says) in [
        (format!("{good}[resorces.x]\nproduct = \"x\"\n"), "did you mean `resources`"),
        (good.replace("format = 1", "format = 9"), "format"),
        (good.replace("bin/dispatch", "bin/missing"), "bin/missing"),
        (good.replace("bin/dispatch", "../outside"), "../outside"),
        (good.replace("name = \"odd\"", "name = \"Odd One\""), "Odd One"),
        (good.replace(">= 0.1", ">= 99"), "99"),
        (format!("{good}[config.x]\ntype = \"number\"\n"), "number"),
        (format!("{good}[config.x]\ntype = \"int\"\ndefault = \"many\"\n"), "x"),
        ("format = 1\nname = ".to_owned(), "charm.toml"),
        (String::new(), "format"),
    ] {
        fs::write(folder.join("charm.toml"), text).unwrap();
        let refused = agent.cli(&format!("deploy {path}")).is_problem().says(&[says]);
        assert!(refused.code == 1, "{refused:?}");
    }
    // A function and a hook charm at once; neither.
    fs::write(folder.join("charm.toml"), good).unwrap();
    fs::write(folder.join("metadata.yaml"), "name: odd\n").unwrap();
    agent.cli(&format!("deploy {path}")).exits(1).is_problem().says(&["metadata.yaml"]);
    fs::remove_file(folder.join("charm.toml")).unwrap();
    agent.cli(&format!("deploy {path}")).is_problem();
    agent.cli("deploy /nonexistent/charm").exits(5).is_problem();
    agent.cli("deploy py-ehco").exits(5).is_problem().says(&["py-echo"]);
    assert_eq!(agent.status()["applications"], serde_json::json!({}));

    // Mended: it deploys, and its own failure is its unit's.
    fs::remove_file(folder.join("metadata.yaml")).unwrap();
    fs::write(folder.join("charm.toml"), good).unwrap();
    executable(false);
    agent.cli(&format!("deploy {path}")).exits(1).is_problem().says(&["not executable"]);
    executable(true);
    agent.cli(&format!("deploy {path} --wait --timeout 60s")).exits(1).is_problem();
    assert!(agent.unit_status("odd/0").starts_with("error"), "{}", agent.unit_status("odd/0"));
    agent.ok("remove-application odd --force --yes --wait --timeout 60s");
}
