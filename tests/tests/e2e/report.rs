//! `stoker report`: one page and an archive, with what helps and with no secret, whether an agent answers or not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use stoker_tests::{Agent, environment, until_seen};

/// Its service says its secrets in its log, its command line and its environment, as careless programs do.
const CHARM: &str = r#"
format = 1
name = "careless"
summary = "shows what it should not"
assumes = "stoker >= 0.1"
[programs]
dispatch = "bin/dispatch"
[config.admin-password]
type = "string"
default = ""
"#;
const DISPATCH: &str = r#"#!/usr/bin/python3 -ISB
import json, subprocess
seen = json.loads(subprocess.run(["observe"], capture_output=True).stdout)
password = seen["config"]["admin-password"]
says = '''echo "password in words: $1"; echo "of the store $TOKEN"; printf %s "user:$TOKEN" | base64 -w0; echo
echo "<name>fs.key.password</name><value>pl4nted-xml</value>"; echo "Authorization: Bearer pl4nted-bearer"
echo "opens https://ann:pl4nted-user@host/x?token=pl4nted-query"; cat "$CONF"; exec sleep 1000'''
plan = {"format": 1, "status": {"state": "active", "message": "knows " + password},
  "secrets": {"auth": {"generate": "hex32", "scope": "app"}},
  "files": {"conf": {"text": "key ${secret:auth}\n", "mode": "0600"}},
  "services": {"main": {"command": ["/bin/sh", "-c", says, "main", password], "files": ["conf"],
    "env": {"TOKEN": "${secret:auth}", "CONF": "${file:conf}", "PASS_WORD": password, "MY_SECRET": "pl4nted-env"}}}}
subprocess.run(["plan"], input=json.dumps(plan).encode(), check=True)
"#;

fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Writes a report; all that is in it, one text for the page and one for the archive, with the answer.
fn report(agent: &Agent, name: &str) -> (serde_json::Value, [String; 2]) {
    let base = agent.beside(name);
    let base = base.to_str().unwrap();
    let answer = agent.words(&["report", "--output", base, "--format", "json"]).exits(0).json();
    let read = |what: &str| {
        let path = answer[what]["path"].as_str().unwrap();
        let found = fs::metadata(path).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "for its owner alone");
        assert_eq!(answer[what]["bytes"], found.len());
        String::from_utf8(fs::read(path).unwrap()).unwrap()
    };
    let texts = [read("html"), read("tar")];
    let members = std::process::Command::new("tar").args(["tf", &format!("{base}.tar")]).output().unwrap();
    let members = String::from_utf8(members.stdout).unwrap();
    assert_eq!(
        members.lines().count() as u64,
        answer["tar"]["files"].as_u64().unwrap(),
        "tar reads it:\n{members}"
    );
    (answer, texts)
}

#[test]
fn a_report_helps_and_has_no_secret() {
    let mut agent = Agent::start();
    let charm = agent.dir().join("charms/careless");
    program(&charm.join("charm.toml"), CHARM);
    program(&charm.join("bin/dispatch"), DISPATCH);
    fs::create_dir_all(agent.dir().join("stoker.toml.d")).unwrap();
    let settings = "# password = \"pl4nted-comment\"\nrecipes.env = [\"HOME\"]\n";
    fs::write(agent.dir().join("stoker.toml.d/x.toml"), settings).unwrap();
    let password = "pl4nted \"pass\" & <word>";
    agent
        .words(&["deploy", "careless", "--config", &format!("admin-password={password}"), "--wait"])
        .exits(0);
    agent.cli("deploy py-echo broken --config fault=crash --wait --timeout 30s").exits(1);
    let link = "https://ann:pl4nted-link@127.0.0.1:1/x.tar#sha256=00";
    assert_ne!(agent.words(&["attach-resource", "broken", &format!("payload={link}")]).code, 0);
    let said = |agent: &Agent| agent.cli("logs careless").stdout;
    let log = until_seen("the service has said all", || said(&agent), |log| log.contains("key "));
    let pid = agent.processes()["careless-0-main"].pid;
    let token = environment(pid).remove("TOKEN").unwrap();
    assert!(
        log.contains(&token) && log.contains(password) && log.contains("pl4nted-xml"),
        "it is in the log"
    );

    let tell = |(answer, texts): &(serde_json::Value, [String; 2])| {
        for text in texts {
            let at = text.find("pl4nted").map(|at| &text[at.saturating_sub(200)..(at + 60).min(text.len())]);
            assert_eq!(at, None, "a planted secret");
            assert!(!text.contains(&token) && !text.contains(&token[..32]), "the store's secret");
            assert!(!text.contains("&lt;word&gt;"), "the password as HTML");
            assert!(text.contains("password in words: [removed]"), "what is beside a secret stays");
            assert!(text.contains("careless") && text.contains("bin/sh") && text.contains("${secret:auth}"));
        }
        assert!(answer["removed"].as_u64().unwrap() > 5, "{answer}");
    };
    let up = report(&agent, "up");
    tell(&up);
    assert_eq!(up.0["omitted"], serde_json::json!([]), "all was there");
    let [page, archive] = &up.1;
    for part in
        ["What is not well", "broken/0", "the charm failed", "attach-resource", "Doctor", "careless/0/main"]
    {
        assert!(page.contains(part), "{part} is not on the page");
    }
    for part in
        ["up/status.json", "up/plans/careless-0.json", "up/doctor.json", "up/logs/agent.log", "up/fsck.json"]
    {
        assert!(archive.contains(part), "{part} is not in the archive");
    }
    assert!(
        !page.contains("<script") && !page.contains("src=") && !page.contains("href=\"http"),
        "nothing is fetched"
    );

    // One that is there is left alone.
    let base = agent.beside("up");
    assert_eq!(agent.words(&["report", "--output", base.to_str().unwrap()]).code, 6);

    agent.term();
    let down = report(&agent, "down");
    tell(&down);
    assert!(down.0["omitted"][0]["why"].as_str().unwrap().contains("does not answer"), "{}", down.0);
    assert!(down.1[1].contains("down/journal/careless-0.json") && down.1[1].contains("down/model.json"));
    // Without the key nobody knows what is secret: there is no report.
    let key = agent.dir().join("secret.key");
    fs::rename(&key, agent.beside("key")).unwrap();
    let none = agent.beside("none");
    assert_eq!(agent.words(&["report", "--output", none.to_str().unwrap()]).code, 4);
    assert!(!key.exists() && !agent.beside("none.html").exists());
    fs::rename(agent.beside("key"), &key).unwrap();
    agent.resume();
}
