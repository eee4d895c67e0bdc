//! What a report is made of: the agent's answers, where one answers, else what its folder says; and the host. Owns what
//! is asked and how much of it; nothing here is redacted yet, so nothing here is shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use stoker_host::services::{journal::Follow, systemd};
use stoker_host::{facts, processes};
use stoker_model::record::Secret;
use stoker_store::Survey;

use super::super::Context;
use super::super::client::Client;
use super::redact::{Redactor, sounds_secret};
use crate::core::{Sealer, doctor, fsck};
use crate::problem::{Problem, chain, codes};
use crate::settings::{Paths, Settings};

/// So many units are told in full; those that are not well come first.
const UNITS: usize = 40;
/// The newest so many events.
const EVENTS: usize = 300;
/// The end of a file, bytes.
const TAIL: u64 = 256 << 10;

/// One member of the archive, and section of the page.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its file's name.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    pub body: Body,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Document(Value),
    Text(String),
}

/// All parts, and what there is no part of: what, and why.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub parts: Vec<Part>,
    pub omitted: Vec<(String, String)>,
}

impl Gathered {
    fn document(&mut self, name: &str, title: &str, body: Value) {
        self.parts.push(Part { name: name.to_owned(), title: title.to_owned(), body: Body::Document(body) });
    }

    fn text(&mut self, name: &str, title: &str, body: String) {
        self.parts.push(Part { name: name.to_owned(), title: title.to_owned(), body: Body::Text(body) });
    }

    fn without(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.omitted.push((what.into(), why.into()));
    }
}

/// The values of all secrets that the folder has. Refused where they cannot be known: a report could have them.
pub(super) fn secrets(paths: &Paths) -> Result<Redactor, Problem> {
    let mut redactor = Redactor::default();
    if !paths.store.exists() && !paths.key.exists() {
        return Ok(redactor);
    }
    let unknown = |evidence: String| {
        Problem::new(codes::NOT_ALLOWED, "cannot write a report: what is secret cannot be known here")
            .evidence(evidence)
            .fix("run it as root, or as the agent's user; stoker fsck tells whether the store is sound")
    };
    let survey = Survey::of_store(&paths.store).map_err(|error| unknown(chain(&error)))?;
    let secrets: Vec<Secret> = survey
        .pairs
        .iter()
        .filter(|(key, _)| key.contains("/secret/"))
        .filter_map(|(_, value)| serde_json::from_slice(value).ok())
        .collect();
    if !secrets.is_empty() {
        if !paths.key.exists() {
            return Err(unknown(format!("`{}` is missing", paths.key.display())));
        }
        let sealer = Sealer::open(&paths.key).map_err(|error| unknown(chain(&error)))?;
        for secret in secrets {
            for sealed in secret.sealed.values() {
                redactor.add(&sealer.unseal(&secret.id, sealed).map_err(|error| unknown(chain(&error)))?);
            }
        }
    }
    for (_, value) in &survey.pairs {
        redactor.learn(&serde_json::from_slice(value).unwrap_or_default());
    }
    for (_, value) in Survey::of_journal(&paths.journal).map(|journal| journal.pairs).unwrap_or_default() {
        redactor.learn(&serde_json::from_slice(&value).unwrap_or_default());
    }
    for folder in std::fs::read_dir(&paths.services).into_iter().flatten().flatten() {
        let spec = std::fs::read(folder.path().join("spec.json")).unwrap_or_default();
        let spec: Value = serde_json::from_slice(&spec).unwrap_or_default();
        for value in spec["secret_env"].as_object().into_iter().flat_map(|env| env.values()) {
            value.as_str().into_iter().for_each(|value| redactor.add(value));
        }
        redactor.learn(&spec);
    }
    // What the agent and this command were given.
    let own = std::env::vars().collect::<BTreeMap<_, _>>();
    for env in fsck::agent_of(paths).map(processes::environment).into_iter().chain([own]) {
        env.iter().filter(|(name, _)| sounds_secret(name)).for_each(|(_, value)| redactor.add(value));
    }
    Ok(redactor)
}

/// What the parts themselves tell to be secret somewhere is secret everywhere.
pub(super) fn learn(mut redactor: Redactor, parts: &[Part]) -> Redactor {
    for part in parts {
        match &part.body {
            Body::Document(document) => redactor.learn(document),
            Body::Text(text) => redactor.learn(&Value::from(text.as_str())),
        }
    }
    redactor
}

/// Everything.
pub(super) async fn all(context: &Context, lines: usize) -> Gathered {
    let mut found = Gathered::default();
    let paths = &context.paths;
    versions(&mut found);
    let asked = match context.client() {
        Ok(client) => ask(&mut found, &client, lines).await,
        Err(problem) => Err(problem),
    };
    if let Err(problem) = asked {
        let why = format!("the agent does not answer ({}); told is what its folder says", problem.title);
        found.without("status, alignment and whatever else only the agent knows", why);
        folder(&mut found, paths, lines).await;
    }
    match Settings::load(paths) {
        Ok(settings) => {
            let findings = doctor::examine(paths, &settings).await;
            found.document("doctor.json", "What the doctor finds", json!(findings));
        }
        Err(problem) => found.without("the doctor", problem.to_string()),
    }
    if paths.store.exists() {
        found.document("fsck.json", "What the checker finds", json!(fsck::look(paths, false)));
    }
    configuration(&mut found, paths);
    host(&mut found, paths).await;
    found
}

fn versions(found: &mut Gathered) {
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let named = |key: &str| {
        let line = system.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let versions = json!({"stoker": env!("CARGO_PKG_VERSION"), "system": named("PRETTY_NAME"), "kernel": kernel.trim(),
        "systemd": systemd::is_booted()});
    found.document("version.json", "Versions", versions);
}

/// What the agent answers; fails where it answers nothing at all.
async fn ask(found: &mut Gathered, client: &Client, lines: usize) -> Result<(), Problem> {
    let agent: Value = client.get(Client::root(&["version"])).await?;
    let status: Value = client.get(client.at(&["status"])).await?;
    found.document("agent.json", "The agent", agent);
    let mut events = Client::root(&["events"]);
    events.query_pairs_mut().append_pair("most", &EVENTS.to_string());
    let plain = [
        ("events.json", "Who asked for what", events),
        ("builds.json", "Builds", Client::root(&["builds"])),
        ("usage.json", "What builds take", Client::root(&["builds", "usage"])),
        ("kept.json", "Kept data of removed units", client.at(&["kept"])),
        ("settled.json", "What is still to come", client.at(&["settled"])),
    ];
    for (name, title, url) in plain {
        one(found, client, name, title, url).await;
    }
    let empty = serde_json::Map::new();
    let apps = status["applications"].as_object().unwrap_or(&empty);
    for app in apps.keys() {
        for (what, title) in [
            ("releases", "releases"),
            ("resources", "resources"),
            ("config", "options"),
            ("alignment", "alignment"),
        ] {
            let url = client.at(&["applications", app, what]);
            one(found, client, &format!("{what}/{app}.json"), &format!("{app}: {title}"), url).await;
        }
        let mut why = client.at(&["why"]);
        why.query_pairs_mut().append_pair("subject", app);
        one(found, client, &format!("why/{app}.json"), &format!("{app}: why it is so"), why).await;
        logs(found, client, app, lines).await;
    }
    let mut units: Vec<(bool, &String)> = apps
        .values()
        .flat_map(|app| app["units"].as_object().into_iter().flatten())
        .map(|(unit, told)| (told["workload-status"]["current"] == "active", unit))
        .collect();
    units.sort();
    if units.len() > UNITS {
        let why = "there are more than a report has room for; those that are not active come first";
        found.without(format!("plans of {} of {} units", units.len() - UNITS, units.len()), why);
    }
    for (_, unit) in units.into_iter().take(UNITS) {
        let (Some((app, n)), file) = (unit.split_once('/'), unit.replace('/', "-")) else { continue };
        let url = client.at(&["units", app, n]);
        one(found, client, &format!("units/{file}.json"), &format!("{unit}: in full"), url).await;
        let url = client.at(&["units", app, n, "plan"]);
        one(found, client, &format!("plans/{file}.json"), &format!("{unit}: its plan"), url).await;
    }
    let mut url = Client::root(&["debug-log"]);
    url.query_pairs_mut().append_pair("lines", &lines.to_string());
    match collect(client, url).await {
        Ok(logs) => {
            for (_, log) in logs {
                found.text("logs/agent.log", "The agent's log", log);
            }
        }
        Err(problem) => found.without("the agent's log", problem.title),
    }
    found.document("status.json", "Status", status);
    Ok(())
}

async fn one(found: &mut Gathered, client: &Client, name: &str, title: &str, url: reqwest::Url) {
    match client.get::<Value>(url).await {
        Ok(document) if document == json!([]) || document == json!({}) => {}
        Ok(document) => found.document(name, title, document),
        // There is none: nothing is missing.
        Err(problem) if problem.code == codes::NOT_FOUND.id => {}
        Err(problem) => found.without(title, problem.title),
    }
}

async fn logs(found: &mut Gathered, client: &Client, app: &str, lines: usize) {
    let mut url = client.at(&["logs"]);
    url.query_pairs_mut().append_pair("target", app).append_pair("lines", &lines.to_string());
    match collect(client, url).await {
        Ok(logs) => {
            for (source, log) in logs {
                found.text(
                    &format!("logs/{}.log", source.replace('/', "-")),
                    &format!("{source}: its log"),
                    log,
                );
            }
        }
        Err(problem) => found.without(format!("logs of {app}"), problem.title),
    }
}

async fn collect(client: &Client, url: reqwest::Url) -> Result<BTreeMap<String, String>, Problem> {
    let mut logs: BTreeMap<String, String> = BTreeMap::new();
    let mut lines = client.lines(url).await?;
    while let Some(line) = lines.next::<Value>().await? {
        let log = logs.entry(line["source"].as_str().unwrap_or_default().to_owned()).or_default();
        log.push_str(line["line"].as_str().unwrap_or_default());
        log.push('\n');
    }
    Ok(logs)
}

/// What can be told without an agent: records, plans, logs, events.
async fn folder(found: &mut Gathered, paths: &Paths, lines: usize) {
    match Survey::of_store(&paths.store) {
        Ok(survey) => {
            let told =
                survey.pairs.iter().filter(|(key, _)| !key.contains("/secret/")).map(|(key, value)| {
                    let name = key.split('/').skip(5).collect::<Vec<_>>().join("/");
                    (name, serde_json::from_slice(value).unwrap_or_default())
                });
            found.document("model.json", "The model's records", Value::Object(told.collect()));
        }
        Err(error) => found.without("the model", chain(&error)),
    }
    match Survey::of_journal(&paths.journal) {
        Ok(journal) => {
            for (key, value) in journal.pairs {
                let unit = key.rsplit('/').next().unwrap_or_default();
                let record: Value = serde_json::from_slice(&value).unwrap_or_default();
                found.document(
                    &format!("journal/{unit}.json"),
                    &format!("{unit}: this host's record"),
                    record,
                );
            }
        }
        Err(error) => found.without("this host's journal", chain(&error)),
    }
    for folder in std::fs::read_dir(&paths.services).into_iter().flatten().flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        if let Some(log) = tail(&folder.path().join("log"), lines) {
            found.text(&format!("logs/{name}.log"), &format!("{name}: its log"), log);
        }
    }
    for unit in systemd::units_of(&paths.services).unwrap_or_default() {
        let Ok(mut follow) = Follow::start(&unit, Some(lines), false) else { continue };
        let mut log = String::new();
        while let Ok(Some(line)) = follow.next().await {
            log.push_str(&line);
            log.push('\n');
        }
        found.text(&format!("logs/{unit}.log"), &format!("{unit}: its journal"), log);
    }
    if let Some(events) = tail(&paths.events, EVENTS) {
        let events: Vec<Value> = events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        found.document("events.json", "Who asked for what, beside changes", json!(events));
    }
    match tail(&paths.log, lines) {
        Some(log) => found.text("logs/agent.log", "The agent's log", log),
        None => found.without("the agent's log", format!("there is none at {}", paths.log.display())),
    }
}

/// The last lines of a file; `None` where there is nothing to read.
fn tail(path: &Path, lines: usize) -> Option<String> {
    use std::io::{Read as _, Seek as _};
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    // Where the beginning was left out, the first line is a part of one.
    let from = all.len().saturating_sub(lines).max(usize::from(length > TAIL));
    Some(all.get(from..).unwrap_or_default().join("\n"))
}

fn configuration(found: &mut Gathered, paths: &Paths) {
    let mut files = vec![paths.config.clone()];
    let mut drop_ins: Vec<_> = std::fs::read_dir(paths.drop_ins())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    drop_ins.sort();
    files.extend(drop_ins.into_iter().filter(|path| path.extension().is_some_and(|end| end == "toml")));
    let mut said = String::new();
    for path in files {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                // The file as it is installed says itself what each key is: only what is set is told.
                let set = text
                    .lines()
                    .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
                let _ = writeln!(said, "# {}\n{}", path.display(), set.collect::<Vec<_>>().join("\n"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => found.without(path.display().to_string(), error.to_string()),
        }
    }
    if !said.is_empty() {
        found.text("settings.toml", "Settings", said);
    }
}

async fn host(found: &mut Gathered, paths: &Paths) {
    let facts = facts::gather().await;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut host = serde_json::to_value(&facts).unwrap_or_default();
    host["load"] = read("/proc/loadavg").trim().into();
    host["up_seconds"] = read("/proc/uptime").split('.').next().and_then(|n| n.parse::<u64>().ok()).into();
    let memory = read("/proc/meminfo");
    let wanted = ["MemTotal", "MemAvailable", "SwapTotal", "SwapFree"];
    host["memory_now"] = memory
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| wanted.contains(key))
        .map(|(key, value)| (key.to_owned(), Value::from(value.trim())))
        .collect::<serde_json::Map<_, _>>()
        .into();
    host["disk"] =
        facts::disk(&paths.root).ok().and_then(|disk| serde_json::to_value(disk).ok()).unwrap_or_default();
    host["folder"] = paths.root.display().to_string().into();
    found.document("host.json", "The host", host);
}
