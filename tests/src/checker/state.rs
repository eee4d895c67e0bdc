//! The final state of a folder as one document that two runs can be compared by: what differs by nature (times,
//! process ids, random ids, the ports of two units that race for them) is left out or named alike.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Records;

/// Fields that differ from run to run.
const LEFT_OUT: &[&str] = &[
    "added",
    "answered",
    "answers",
    "completed",
    "digest",
    "enqueued",
    "echoes",
    "filesystem",
    "groups",
    "log_from",
    "now_seen",
    "op",
    "origin",
    "removed",
    "runs",
    "sealed",
    "since",
    "started",
    "time",
];

/// The state of the folder `dir`.
pub fn state(dir: &Path) -> Value {
    let records = Records::read(dir).expect("databases that can be read");
    let names_of = Names::new(dir, &records);
    let mut model = Map::new();
    let mut tasks: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (key, value) in &records.model {
        // A task's key is a digest of paths and ports: what counts is which results there are.
        if let Some(rest) = key.strip_prefix("task/") {
            let (task, _) = rest.rsplit_once('/').unwrap_or((rest, ""));
            let mut result = names_of.alike(value);
            let owner = task.split('/').next().unwrap_or_default();
            if !records.model.contains_key(&format!("unit/{owner}"))
                && let Some(fields) = result.as_object_mut()
            {
                // One for the whole application: which unit ran it is a matter of who asked first.
                fields.remove("unit");
            }
            tasks.entry(task.to_owned()).or_default().push(result);
        } else {
            model.insert(names_of.text(key), names_of.alike(value));
        }
    }
    for results in tasks.values_mut() {
        results.sort_by_key(ToString::to_string);
    }
    let mut units = Map::new();
    for (unit, local) in &records.journal {
        units.insert(unit.clone(), unit_state(local, &names_of));
    }
    json!({
        "model": model,
        "tasks": tasks,
        "units": units,
        "trees": trees(dir),
        "build-records": names(&dir.join("builds/records")),
        "kept": names(&dir.join("kept")).iter().map(|id| names_of.text(id)).collect::<Vec<_>>(),
    })
}

fn unit_state(local: &Value, names_of: &Names) -> Value {
    let mut shown = Map::new();
    for field in ["plan", "planned_release", "failure", "reused", "restarted"] {
        shown.insert(field.into(), names_of.alike(&local[field]));
    }
    let applied = &local["applied"];
    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    let files = applied["groups"].as_object().into_iter().flatten().map(|(group, rendered)| {
        let texts = rendered["files"].as_object().into_iter().flatten();
        let texts = texts.map(|(path, file)| (path.clone(), names_of.alike(&file["text"])));
        (group.clone(), Value::Object(texts.collect()))
    });
    shown.insert(
        "applied".into(),
        json!({
            "release": applied["release"],
            "trees": names_of.alike(&applied["bindings"]["trees"]),
            "services": keys(&applied["services"]),
            "tasks": keys(&applied["tasks"]),
            "files": Value::Object(files.collect()),
        }),
    );
    let frozen = local["generations"].as_array().into_iter().flatten().map(|frozen| {
        json!({"generation": frozen["generation"], "drains": !frozen["draining"].is_null(),
            "release": frozen["applied"]["release"], "services": keys(&frozen["applied"]["services"])})
    });
    shown.insert("generations".into(), frozen.collect());
    shown.insert("ports".into(), json!(keys(&local["ports"])));
    shown.insert("dirs".into(), json!(keys(&local["dirs"])));
    Value::Object(shown)
}

/// Each tree with a digest of its paths, modes and contents.
fn trees(dir: &Path) -> BTreeMap<String, String> {
    let folder = dir.join("builds/trees");
    let digest = |name: String| {
        let mut files = Vec::new();
        walk(&folder.join(&name), &mut files);
        let mut hasher = DefaultHasher::new();
        for path in files {
            path.strip_prefix(&folder).unwrap_or(&path).hash(&mut hasher);
            let meta = fs::symlink_metadata(&path).expect("a tree at rest");
            meta.permissions().mode().hash(&mut hasher);
            if meta.is_file() {
                fs::read(&path).expect("a file").hash(&mut hasher);
            } else {
                fs::read_link(&path).ok().hash(&mut hasher);
            }
        }
        let digest = format!("{:016x}", hasher.finish());
        (name, digest)
    };
    names(&folder).into_iter().map(digest).collect()
}

/// Names in a folder, sorted; empty where there is none.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// All files below a folder, links not followed.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for name in names(folder) {
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => walk(&path, found),
            Ok(_) => found.push(path),
            Err(_) => {}
        }
    }
}

fn is_random(id: &str) -> bool {
    id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What is random or of one folder, with the name that it gets instead.
struct Names(Vec<(String, String)>);

impl Names {
    fn new(dir: &Path, records: &Records) -> Self {
        let mut all = Vec::new();
        if let Some(beside) = dir.parent() {
            all.push((beside.display().to_string(), "@BESIDE".to_owned()));
        }
        let mut add =
            |value: &Value, name: String| all.extend(value.as_str().map(|text| (text.to_owned(), name)));
        add(records.model.get("model").map_or(&Value::Null, |model| &model["uuid"]), "@MODEL".into());
        for (app, record) in records.of("app") {
            add(&record["uuid"], format!("@UUID-{app}"));
        }
        for (_, report) in records.of("report") {
            add(&report["address"], "@ADDRESS".into());
        }
        for (_, secret) in records.of("secret") {
            add(&secret["id"], format!("@SECRET-{}-{}", secret["app"], secret["name"]).replace('"', ""));
        }
        for (unit, local) in &records.journal {
            for (port, at) in local["ports"].as_object().into_iter().flatten() {
                all.push((format!(":{}", at[0]), format!(":@{unit}.{port}")));
            }
        }
        all.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Self(all)
    }

    fn text(&self, text: &str) -> String {
        let named = self.0.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        // Kept data is named by the beginning of its application's id, which may be gone from the model.
        if !named.contains("default-") {
            return named;
        }
        let word = |word: &str| match word.rsplit_once('-') {
            Some((unit, id)) if unit.starts_with("default-") && is_random(id) => format!("{unit}-@ID"),
            _ => word.to_owned(),
        };
        named.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }

    fn alike(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.alike(item)).collect(),
            Value::Object(map) => {
                let kept = map.iter().filter(|(key, _)| !LEFT_OUT.contains(&key.as_str()));
                let alike = |(key, value): (&String, &Value)| {
                    // Ports are numbers: which one is a matter of who asked first.
                    let ports = value.as_object().filter(|_| key == "ports");
                    let named = ports.map(|ports| json!(ports.keys().collect::<Vec<_>>()));
                    (self.text(key), named.unwrap_or_else(|| self.alike(value)))
                };
                Value::Object(kept.map(alike).collect())
            }
            other => other.clone(),
        }
    }
}

/// Where two states differ: at most a few lines.
pub fn difference(expected: &Value, seen: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", expected, seen, &mut found);
    found.truncate(12);
    found
}

fn compare(at: &str, expected: &Value, seen: &Value, found: &mut Vec<String>) {
    match (expected, seen) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&format!("{at} {key}"), &of(a), &of(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{at} {i}"), a, b, found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => {
            let cut = |value: &Value| value.to_string().chars().take(160).collect::<String>();
            found.push(format!("{at}: expected {}, seen {}", cut(a), cut(b)));
        }
    }
}
