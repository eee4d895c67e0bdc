//! What the two databases say: the model's records and this host's journal. Owns reading them and what must hold
//! between them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

const PREFIX: &str = "/stoker/1/m/default/";

/// The records of both databases.
#[derive(Debug)]
pub struct Records {
    /// The model's, by key without its prefix.
    pub model: BTreeMap<String, Value>,
    /// The journal's, by unit (`web-0`).
    pub journal: BTreeMap<String, Value>,
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(Duration::from_secs(5))?;
    Ok(conn)
}

fn pairs(path: &Path, query: &str) -> rusqlite::Result<Vec<(String, Value)>> {
    let conn = open(path)?;
    let mut statement = conn.prepare(query)?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    rows.map(|row| row.map(|(key, value)| (key, serde_json::from_slice(&value).unwrap_or_default())))
        .collect()
}

impl Records {
    /// Reads both, the agent running or not.
    ///
    /// # Errors
    /// A database is not there, or is none.
    pub fn read(dir: &Path) -> rusqlite::Result<Self> {
        let model = pairs(&dir.join("model.db"), "SELECT key, value FROM entries")?;
        let journal = pairs(&dir.join("agent.db"), "SELECT key, value FROM pairs")?;
        let strip =
            |(key, value): (String, Value)| (key.strip_prefix(PREFIX).unwrap_or(&key).to_owned(), value);
        let unit =
            |(key, value): (String, Value)| Some((key.strip_prefix("unit/default/")?.to_owned(), value));
        Ok(Self {
            model: model.into_iter().map(strip).collect(),
            journal: journal.into_iter().filter_map(unit).collect(),
        })
    }

    /// Records of one kind: those whose keys begin with `KIND/`, by the rest.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let rest = move |key: &'a String| key.strip_prefix(kind)?.strip_prefix('/');
        self.model.iter().filter_map(move |(key, value)| Some((rest(key)?, value)))
    }

    /// Whether a change was committed whose command begins so.
    pub fn has_change(&self, command: &str) -> bool {
        self.of("change")
            .any(|(_, change)| change["command"].as_str().is_some_and(|said| said.starts_with(command)))
    }
}

/// How often anything was written: the store's revision, and the journal's sum of all its rows.
pub fn revision(dir: &Path) -> (i64, i64) {
    let number = |file: &str, query: &str| {
        let read = open(&dir.join(file)).and_then(|conn| conn.query_row(query, [], |row| row.get(0)));
        read.expect("a database that can be read")
    };
    (number("model.db", "SELECT revision FROM meta"), number("agent.db", "SELECT pairs_sum FROM total"))
}

/// What must hold at every moment, also when an agent was just killed: what the journal calls applied was told to the
/// store before. The store may be ahead (the newest plan's output is there and not noted yet), never behind.
pub fn published(records: &Records) -> Vec<String> {
    let mut found = Vec::new();
    for (unit, local) in &records.journal {
        let Some(record) = records.model.get(&format!("unit/{unit}")) else { continue };
        let moving = &local["op"]["move"]["to"]["plan"];
        let plans: Vec<&Value> = [&local["applied"]["plan"], &local["plan"], moving]
            .into_iter()
            .filter(|plan| plan.is_object())
            .collect();
        // Before anything is applied nothing was told; a plan that holds tells without being applied.
        if local["applied"].is_null() || record["life"] != "alive" {
            continue;
        }
        let told = records.model.get(&format!("unit-state/{unit}")).cloned().unwrap_or_else(|| json!({}));
        if !plans.iter().any(|plan| plan["state"]["unit"] == told) {
            found.push(format!("{unit}: the store has the state {told}, which is of no plan in the journal"));
        }
        let app = record["id"].as_str().and_then(|id| id.split('/').next()).unwrap_or_default();
        let leads = leader(records, app).as_deref() == Some(unit);
        for (at, data) in records.of("data") {
            let mut parts = at.split('/');
            let (Some(relation), Some(scope), Some(of)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let ours = (scope == "unit" && of == unit) || (scope == "app" && of == app && leads);
            let relation = relation.trim_start_matches('0');
            if ours && !plans.iter().any(|plan| said(&plan["relations"][relation][scope], data)) {
                found.push(format!(
                    "{unit}: relation {relation} has {data}, which is of no plan in the journal"
                ));
            }
        }
    }
    found
}

/// The unit that leads an application, as `web-0`.
fn leader(records: &Records, app: &str) -> Option<String> {
    let alive = |unit: &str| records.model.get(&format!("unit/{unit}")).is_some_and(|u| u["life"] == "alive");
    let named = records.model.get(&format!("app/{app}"))?["leader"].as_str().map(|id| id.replace('/', "-"));
    let number =
        |unit: &str| unit.rsplit_once('-').and_then(|(of, n)| (of == app).then(|| n.parse::<u32>().ok())?);
    let lowest = || {
        let mut units: Vec<(u32, &str)> =
            records.of("unit").filter_map(|(unit, _)| Some((number(unit)?, unit))).collect();
        units.sort_unstable();
        units.into_iter().find(|(_, unit)| alive(unit)).map(|(_, unit)| unit.to_owned())
    };
    named.filter(|unit| alive(unit)).or_else(lowest)
}

/// Whether a published bag is a plan's: the same words, where no placeholder stands.
fn said(plan: &Value, bag: &Value) -> bool {
    let plain = |text: &str| !text.contains("${");
    let planned = plan.as_object().into_iter().flatten();
    planned
        .filter_map(|(key, value)| {
            Some((key, value.as_str().filter(|text| !text.is_empty() && plain(text))?))
        })
        .all(|(key, value)| bag[key] == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(applied: &str, plan: &str, told: &str) -> Records {
        let of = |text: &str| json!({"state": {"unit": {}}, "relations": {"7": {"app": {"text": text}, "unit": {"url": "${port:a}", "text": text}}}});
        let model = [
            ("unit/web-0", json!({"id": "web/0", "life": "alive"})),
            ("app/web", json!({"name": "web", "leader": null})),
            ("data/0000000007/unit/web-0", json!({"url": "x:1", "text": told})),
            ("data/0000000007/app/web", json!({"text": told})),
        ];
        let local = json!({"op": null, "applied": {"plan": of(applied)}, "plan": of(plan)});
        Records {
            model: model.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            journal: [("web-0".to_owned(), local)].into(),
        }
    }

    #[test]
    fn what_is_applied_was_told_before() {
        assert_eq!(published(&records("old", "new", "old")), [""; 0], "not told yet, not applied yet");
        assert_eq!(published(&records("old", "new", "new")), [""; 0], "told, and not noted yet");
        assert_eq!(published(&records("new", "new", "new")), [""; 0]);
        // The journal was written before the store: nobody would come back to it.
        assert_eq!(published(&records("new", "new", "old")).len(), 2);
    }
}
