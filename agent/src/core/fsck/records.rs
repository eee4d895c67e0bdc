//! What the two databases say: the model's records and this host's journal. Owns reading them and what must hold
//! between them.

use std::collections::BTreeMap;

use serde_json::Value;
use stoker_model::ids::UnitId;
use stoker_model::keys::model_prefix;
use stoker_model::local::Local;
use stoker_model::snapshot::Snapshot;
use stoker_store::Survey;

use super::Found;
use crate::core::MODEL;
use crate::problem::chain;
use crate::settings::Paths;

/// The records of both databases.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The model's, by key without its prefix.
    pub model: BTreeMap<String, Value>,
    /// The journal's, by unit (`web-0`).
    pub journal: BTreeMap<String, Value>,
}

impl Records {
    /// Reads both, the agent running or not; `None` where one cannot be read.
    pub(super) fn read(paths: &Paths, found: &mut Found) -> Option<Self> {
        let model = Survey::of_store(&paths.store).map_err(|error| found.damage("store", chain(&error)));
        let journal =
            Survey::of_journal(&paths.journal).map_err(|error| found.damage("journal", chain(&error)));
        let (model, journal) = (model.ok()?, journal.ok()?);
        let mut records = Self::default();
        let prefix = model_prefix(MODEL);
        let mut snapshot = Snapshot::default();
        for (key, value) in model.pairs {
            let rest = key.strip_prefix(&prefix).unwrap_or(&key);
            // Each as what it is, as the agent reads it.
            if let Err(error) = snapshot.apply(rest, Some(&value)) {
                found.damage("store", chain(&error));
            }
            records.model.insert(rest.to_owned(), serde_json::from_slice(&value).unwrap_or_default());
        }
        let units = format!("unit/{MODEL}/");
        for (key, value) in journal.pairs {
            let Some(unit) = key.strip_prefix(&units) else { continue };
            match UnitId::from_dashed(unit).map(|id| Local::read(&id, &value)) {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => found.damage("journal", chain(&error)),
                Err(error) => found.damage("journal", chain(&error)),
            }
            records.journal.insert(unit.to_owned(), serde_json::from_slice(&value).unwrap_or_default());
        }
        Some(records)
    }

    /// Records of one kind: those whose keys begin with `KIND/`, by the rest.
    pub(super) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let rest = move |key: &'a String| key.strip_prefix(kind)?.strip_prefix('/');
        self.model.iter().filter_map(move |(key, value)| Some((rest(key)?, value)))
    }

    /// The services that a unit's applied plan and its frozen generations have, by the names that they run under,
    /// with whether they should run.
    pub(super) fn services(&self, unit: &str) -> Vec<(String, bool)> {
        let stopped =
            self.model.get(&format!("unit/{unit}")).map(|unit| unit["stopped"].clone()).unwrap_or_default();
        let halted = |name: &str| {
            stopped.as_array().is_some_and(|names| names.iter().any(|each| each == name || each == "*"))
        };
        let Some(local) = self.journal.get(unit) else { return Vec::new() };
        let newest = service_names(&local["applied"]).into_iter().map(|(name, run)| {
            let runs = !halted(&name) && !halted(&run);
            (run, runs)
        });
        let frozen = living(local).skip(1).flat_map(service_names).map(|(_, run)| {
            let runs = !halted(&run);
            (run, runs)
        });
        newest.chain(frozen).collect()
    }
}

/// What is applied, then what is frozen, in a unit's journal record.
pub(super) fn living(local: &Value) -> impl Iterator<Item = &Value> {
    let frozen = local["generations"].as_array().into_iter().flatten();
    std::iter::once(&local["applied"]).chain(frozen.map(|frozen| &frozen["applied"]))
}

/// The services of an applied plan: the plan's name, and the one that it runs under.
pub(super) fn service_names(applied: &Value) -> Vec<(String, String)> {
    let n = &applied["bindings"]["generation"]["n"];
    let run = |name: &String| {
        let of_it = applied["plan"]["services"][name]["generation"] == true && n.is_u64();
        if of_it { format!("{name}.g{n}") } else { name.clone() }
    };
    let services = applied["services"].as_object().into_iter().flatten();
    services.map(|(name, _)| (name.clone(), run(name))).collect()
}

/// A generation that nobody keeps and that cannot be busy goes on only for a moment; ports, folders and numbers are
/// of generations that live.
fn generations(records: &Records, found: &mut Found) {
    for (unit, local) in &records.journal {
        let app = |unit: &str| unit.rsplit_once('-').map(|(app, _)| app.to_owned()).unwrap_or_default();
        let kept = |key: &Value| {
            let ours = records.journal.iter().filter(|(other, _)| app(other) == app(unit));
            ours.filter_map(|(_, local)| local["plan"]["generation"]["keep"].as_array())
                .any(|keep| keep.contains(key))
        };
        for frozen in local["generations"].as_array().into_iter().flatten() {
            let services = frozen["applied"]["plan"]["services"].as_object().into_iter().flatten();
            let asks = services
                .into_iter()
                .any(|(_, service)| service["busy"].as_object().is_some_and(|b| !b.is_empty()));
            if !asks && !kept(&frozen["generation"]["key"]) {
                found.unrest("units", format!("{unit}: generation {} does not end", frozen["generation"]));
            }
        }
        let numbers: Vec<String> = living(local)
            .chain([&local["candidate"]])
            .filter_map(|applied| Some(format!(".g{}", applied["bindings"]["generation"]["n"].as_u64()?)))
            .collect();
        for of in ["ports", "dirs"] {
            for name in local[of].as_object().into_iter().flat_map(|map| map.keys()) {
                if name.contains(".g") && !numbers.iter().any(|n| name.ends_with(n)) {
                    found.unrest("units", format!("{unit}: {of} has {name}, whose generation is gone"));
                }
            }
        }
    }
    for (app, record) in records.of("app") {
        if !record["ended"].is_null() {
            found.unrest("units", format!("{app}: generations are still ending: {}", record["ended"]));
        }
    }
}

/// No operation is left in flight, and model and journal know the same units.
pub(super) fn check(records: &Records, found: &mut Found) {
    generations(records, found);
    for (unit, local) in &records.journal {
        if !local["op"].is_null() {
            found.unrest("units", format!("{unit}: an operation is left in flight: {}", local["op"]));
        }
        if !records.model.contains_key(&format!("unit/{unit}")) {
            found.unrest("units", format!("{unit}: the journal knows it, the model does not"));
        }
    }
    for (unit, record) in records.of("unit") {
        if !records.journal.contains_key(unit) {
            found.unrest("units", format!("{unit}: the model knows it, the journal does not"));
        }
        let app = record["id"].as_str().and_then(|id| id.split('/').next()).unwrap_or_default();
        if !records.model.contains_key(&format!("app/{app}")) {
            found.damage("store", format!("{unit}: its application is not there"));
        }
    }
    for (app, record) in records.of("app") {
        let mut units = records.of("unit").filter_map(|(_, unit)| unit["id"].as_str()?.split_once('/'));
        if record["life"] != "alive" && !units.any(|(of, _)| of == app) {
            found.damage("store", format!("{app}: is being removed, and no unit is left that would end it"));
        }
    }
    for (at, action) in records.of("action") {
        if matches!(action["state"].as_str(), Some("pending" | "running")) {
            found.unrest("units", format!("action {at}: is still {}", action["state"]));
        }
    }
    for (at, data) in records.of("data") {
        let relation = at.split('/').next().unwrap_or_default();
        if !records.model.contains_key(&format!("relation/{relation}")) {
            found.damage("store", format!("data {at}: its relation is not there: {data}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(records: &Records, strict: bool) -> Vec<String> {
        let mut found = Found { strict, all: Vec::new() };
        check(records, &mut found);
        found.all.into_iter().map(|finding| finding.found).collect()
    }

    #[test]
    fn records_must_fit_each_other() {
        let model = [
            ("unit/web-0", json!({"id": "web/0"})),
            ("app/web", json!({"life": "alive"})),
            ("app/old", json!({"life": "dying"})),
            ("data/0000000007/app/web", json!({})),
        ];
        let mut records = Records {
            model: model.map(|(key, value)| (key.to_owned(), value)).into(),
            journal: [("web-0".to_owned(), json!({"op": "remove"}))].into(),
        };
        let said = seen(&records, false);
        assert!(said.len() == 2 && said[0].starts_with("old:") && said[1].contains("relation"), "{said:?}");
        assert_eq!(seen(&records, true).len(), 3, "an operation in flight is no damage");
        records.model.remove("app/web");
        assert!(seen(&records, false).iter().any(|text| text.starts_with("web-0: its application")));
    }
}
