//! Previews: what would be, with its price; and nothing done.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use stoker_tests::{Agent, Process, payload_folder};

/// All that a preview must not touch: the rows of the model, the files below the folder, who runs.
struct Stand {
    model: Vec<String>,
    files: BTreeMap<PathBuf, u64>,
    processes: BTreeMap<String, Process>,
}

impl Stand {
    /// Fails with what differs alone: the whole is too much to read.
    fn is_still(&self, agent: &Agent, after: &str) {
        let now = stand(agent);
        let rows: Vec<_> = self.model.iter().filter(|row| !now.model.contains(row)).collect();
        let new: Vec<_> = now.model.iter().filter(|row| !self.model.contains(row)).collect();
        assert!(rows.is_empty() && new.is_empty(), "{after}: the model changed\n{rows:#?}\n{new:#?}");
        let differs = |(path, size): &(&PathBuf, &u64)| self.files.get(*path) != Some(size);
        let files: Vec<_> = now.files.iter().filter(differs).collect();
        assert!(
            files.is_empty() && now.files.len() == self.files.len(),
            "{after}: files changed: {files:#?}"
        );
        assert_eq!(now.processes, self.processes, "{after}");
    }
}

fn stand(agent: &Agent) -> Stand {
    let mut files = BTreeMap::new();
    walk(agent.dir(), &mut files);
    // The databases' own files may be tidied at any time, what is in the model is read instead; logs are logs, and
    // services that are asked whether they are busy write theirs;
    // a build that was read for a preview stays among the builds, with nothing that refers to it.
    let own = |path: &Path| {
        let path = path.strip_prefix(agent.dir()).unwrap();
        let name = path.to_string_lossy();
        !(name.contains(".db")
            || name.ends_with("log")
            || name.starts_with("builds/")
            || name.starts_with("run/"))
    };
    files.retain(|path, _| own(path));
    Stand { model: rows(&agent.dir().join("model.db")), files, processes: agent.processes() }
}

fn walk(folder: &Path, files: &mut BTreeMap<PathBuf, u64>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let found = entry.metadata().unwrap();
        if found.is_dir() {
            walk(&entry.path(), files);
        }
        files.insert(entry.path(), if found.is_file() { found.len() } else { 0 });
    }
}

fn rows(path: &Path) -> Vec<String> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut tables =
        database.prepare("select name from sqlite_master where type = 'table' order by name").unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut rows = Vec::new();
    for name in names {
        let mut all = database.prepare(&format!("select * from \"{name}\"")).unwrap();
        let columns = all.column_count();
        let mut found = all.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let row: Vec<String> = (0..columns).map(|at| shown(row.get_ref(at).unwrap())).collect();
            rows.push(format!("{name}: {}", row.join(" ")));
        }
    }
    rows
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_preview_changes_nothing_and_says_what_would_be() {
    let agent = Agent::start();
    agent.deploy("py-echo echo --config text=one --config busy=true --resource payload=recipe:1.0");
    agent.ok("deploy py-peer peer");
    agent.ok("integrate peer echo --wait --timeout 60s");
    agent.until_status("peer/0", "active");
    agent.ok("run echo/0 work jobs=x");
    agent.ok("remove-relation peer echo --wait --timeout 60s");
    agent.ok("integrate peer echo --wait --timeout 60s");
    agent.until_status("peer/0", "active");
    let folder = agent.beside("payload-3");
    payload_folder(&folder, "3.0");
    let attach = format!("attach-resource echo payload={}", folder.display());
    let before = stand(&agent);
    for line in [
        "config echo text=two",
        "config echo --reset text",
        "deploy py-echo another -n 2",
        "add-unit echo -n 2",
        "remove-unit echo/0 --destroy-data",
        "remove-application echo --destroy-data",
        "remove-relation peer echo",
        "refresh echo",
        "stop echo/0/echo",
        "restart echo/0/echo",
        "rollout echo now",
        "run echo/0 say text=x",
        "config echo fault=crash",
        "config echo fault=unsettled",
        "attach-resource echo payload=recipe:2.0",
        &attach,
    ] {
        let shown = agent.cli(&format!("{line} --preview --format json")).exits(0);
        assert!(shown.json()["token"].is_string(), "{line}: {shown:?}");
        before.is_still(&agent, line);
    }

    let preview = agent.json("config echo text=two --preview");
    assert_eq!((&preview["changes"], &preview["restarts"]), (&true.into(), &2.into()), "{preview}");
    let unit = |name: &str| {
        preview["units"].as_array().unwrap().iter().find(|unit| unit["unit"] == name).unwrap().clone()
    };
    assert_eq!(unit("echo/0")["restart"], serde_json::json!(["echo"]));
    assert_eq!(unit("peer/0")["restart"], serde_json::json!(["ear"]), "what it leads to elsewhere");
    assert!(preview["touched"].to_string().contains("echo/0"), "whom it would disturb: {preview}");
    let crash = agent.json("config echo fault=crash --preview");
    assert!(crash["problems"].to_string().contains("echo/0"), "{crash}");

    // Exit statuses of scripts.
    agent.cli("config echo text=two --preview --exit-code").exits(10);
    agent.cli("config echo text=one --preview --exit-code").exits(0);
    agent.cli("config echo txet=two --preview").exits(5).is_problem().says(&["text"]);
    before.is_still(&agent, "an exit status");
}

#[test]
fn a_token_applies_exactly_what_was_shown() {
    let agent = Agent::start();
    agent.deploy("py-echo echo --config text=one");
    let token = |line: &str| agent.json(&format!("{line} --preview"))["token"].as_str().unwrap().to_owned();
    let two = token("config echo text=two");
    assert_eq!(two, token("config echo text=two"), "the same preview has the same token");
    let three = token("config echo text=three");
    assert_ne!(two, three);
    agent.cli(&format!("config echo text=three --if {two}")).exits(6).is_problem().says(&["ST0009"]);
    agent.ok(&format!("config echo text=two --if {two} --wait --timeout 60s"));
    assert_eq!(agent.about("echo/0")["text"], "two");
    // What was shown before the change is stale after it.
    agent.cli(&format!("config echo text=three --if {three}")).exits(6).is_problem();
    assert_eq!(agent.json("config echo text"), "two");
    let text = agent.ok("config echo text=three --preview").stdout;
    let last = text.lines().last().unwrap();
    let (_, shown) = last.split_once("--if ").unwrap();
    agent.ok(&format!("config echo text=three --if {shown} --wait --timeout 60s"));
    assert_eq!(agent.about("echo/0")["text"], "three");
}
