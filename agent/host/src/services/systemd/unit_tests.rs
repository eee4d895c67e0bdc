//! What unit files say: one in full, and what must hold for all.

use proptest::prelude::*;

use super::*;
use crate::services::spec::{Limits, OneShot, Restart, Stop};

fn service() -> ServiceSpec {
    let mut spec = ServiceSpec::new(
        "stoker-default-web-0-server",
        "b3:12",
        ["/srv/builds/x y/bin/server", "--say", "50% of $HOME; \"quoted\"\nand more", ""]
            .map(String::from)
            .to_vec(),
    );
    spec.env = [("PATH", "/usr/bin"), ("LANG", "C.UTF-8"), ("OPTS", "-Da=\"b c\" %n")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    spec.secret_env.insert("TOKEN".into(), "hunter2".into());
    spec.user = Some("stoker-web".into());
    spec.cwd = Some("/var/lib/stoker/models/default/units/web-0/data".into());
    spec.write = vec!["/var/lib/stoker/models/default/units/web-0/data".into(), "/data/1".into()];
    spec.deny_write = vec!["/var/lib/stoker/builds".into()];
    spec.stop = Stop { signal: "TERM".into(), grace: Duration::from_mins(15) };
    spec.restart = Restart { on: RestartOn::Failure, backoff: [1, 5, 60].map(Duration::from_secs).to_vec() };
    spec.limits = Limits { memory: 1 << 30, cores: 2, nofile: 0 };
    spec.mark = [
        ("app", "web"),
        ("unit", "web/0"),
        ("release", "3"),
        ("service", "server"),
        ("dir", "/var/lib/stoker"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    spec
}

fn rendered(spec: &ServiceSpec, version: u32) -> Result<String, String> {
    let record = Path::new("/var/lib/stoker/services").join(&spec.name);
    render(spec, &Around { record: &record, shim: Path::new("/usr/lib/stoker/stoker-shim"), version })
}

/// All values of a key, in their order.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn a_service_in_full() {
    assert_eq!(rendered(&service(), 252).unwrap(), include_str!("unit_test.service"));
}

#[test]
fn its_own_section_is_read_back() {
    let spec = service();
    let own = read(&rendered(&spec, 252).unwrap()).unwrap();
    assert_eq!((own.digest.as_str(), own.oneshot, &own.mark), ("b3:12", false, &spec.mark));
    assert_eq!(own.record, Path::new("/var/lib/stoker/services/stoker-default-web-0-server"));
    assert_eq!(read("[Service]\nExecStart=/bin/true\n"), None);
    assert_eq!(
        read(&rendered(&spec, 252).unwrap().replace("\nFormat=1\n", "\nFormat=2\n")),
        None,
        "of a newer stoker"
    );
}

#[test]
fn secrets_are_in_a_file_of_their_own() {
    let spec = service();
    assert!(!rendered(&spec, 252).unwrap().contains("hunter2"));
    assert_eq!(secrets(&spec), "TOKEN=\"hunter2\"\n");
}

#[test]
fn a_task_runs_once() {
    let mut spec = service();
    spec.oneshot = Some(OneShot { timeout: Duration::from_secs(5) });
    spec.success = vec![0];
    let text = rendered(&spec, 252).unwrap();
    assert!(
        values(&text, "ExecStart")[0]
            .starts_with("\":/usr/lib/stoker/stoker-shim\" \"capture\" \"--\" \"/srv/")
    );
    assert_eq!(values(&text, "RuntimeMaxSec"), ["5000ms"]);
    assert_eq!(values(&text, "Restart"), ["no"]);
    assert_eq!(values(&text, "CollectMode"), ["inactive-or-failed"]);
    assert!(values(&text, "StandardOutput")[0].ends_with("/stoker-default-web-0-server/stdout"));
    assert!(!text.contains("[Install]"), "no task is started at boot");
}

#[test]
fn there_are_no_storms_of_restarts() {
    let old = rendered(&service(), 252).unwrap();
    assert_eq!((values(&old, "StartLimitBurst"), values(&old, "RestartSteps").len()), (vec!["5"], 0));
    let new = rendered(&service(), 255).unwrap();
    assert_eq!(
        (values(&new, "StartLimitBurst").len(), values(&new, "RestartMaxDelaySec")),
        (0, vec!["60000ms"])
    );
    let mut never = service();
    never.restart.on = RestartOn::Never;
    assert_eq!(values(&rendered(&never, 252).unwrap(), "Restart"), ["no"]);
}

#[test]
fn what_systemd_would_drop_or_misread_is_refused() {
    let refused = |change: &dyn Fn(&mut ServiceSpec)| {
        let mut spec = service();
        change(&mut spec);
        rendered(&spec, 252).unwrap_err()
    };
    assert!(refused(&|spec| drop(spec.env.insert("a.b".into(), "x".into()))).contains("`a.b`"));
    assert!(refused(&|spec| spec.cwd = Some("/a\n[Install]".into())).contains("cannot name"));
    assert!(refused(&|spec| spec.user = Some("x\nUser=root".into())).contains("user"));
    assert!(refused(&|spec| spec.command.clear()).contains("command"));
}

#[test]
fn folders_that_a_service_is_told_of_are_not_hidden() {
    let hidden = |change: &dyn Fn(&mut ServiceSpec)| {
        let mut spec = service();
        change(&mut spec);
        let text = rendered(&spec, 252).unwrap();
        (values(&text, "ProtectHome")[0].to_owned(), values(&text, "PrivateTmp")[0].to_owned())
    };
    assert_eq!(hidden(&|_| {}), ("yes".into(), "yes".into()));
    assert_eq!(hidden(&|spec| spec.deny_write = vec!["/var/tmp/x/builds".into()]).1, "no");
    assert_eq!(
        hidden(&|spec| drop(spec.env.insert("JAVA_HOME".into(), "/home/ana/jdk".into()))).0,
        "read-only"
    );
    // A folder of that name elsewhere, and the folder itself, are no reason.
    assert_eq!(hidden(&|spec| drop(spec.env.insert("T".into(), "-Dt=/tmp -Du=/data/tmp/x".into()))).1, "yes");
}

#[test]
fn programs_are_found_in_the_service_s_own_path() {
    let mut spec = service();
    spec.command = vec!["sh".into()];
    spec.env.insert("PATH".into(), "/nonexistent:/bin".into());
    assert_eq!(values(&rendered(&spec, 252).unwrap(), "ExecStart"), ["\":/bin/sh\""]);
    spec.command = vec!["./run".into()];
    assert!(values(&rendered(&spec, 252).unwrap(), "ExecStart")[0].ends_with("/web-0/data/./run\""));
}

proptest! {
    /// Nothing that a plan says can add a line: there are as many as with plain words, and none is another's.
    #[test]
    fn no_text_gets_out_of_its_line(
        words in proptest::collection::vec("[^\0]{1,30}", 1..5),
        value in "[^\0]{0,30}",
        mark in "[^\0]{0,30}",
    ) {
        let mut spec = service();
        let plain = rendered(&spec, 252).unwrap();
        spec.command = words;
        spec.env.insert("OPTS".into(), value);
        spec.mark.insert("app".into(), mark.clone());
        let text = rendered(&spec, 252).unwrap();
        let keys = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split('=').next().unwrap_or_default().to_owned()).collect()
        };
        prop_assert_eq!(keys(&text), keys(&plain));
        prop_assert_eq!(&read(&text).unwrap().mark["app"], &mark);
    }
}
