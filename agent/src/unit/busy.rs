//! Asking what is busy: which running work a stop would disturb.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use stoker_host::services::probe::{ProbeContext, ask};
use stoker_model::ids::UnitId;
use stoker_model::local::Local;
use stoker_model::probe::is_busy;
use stoker_model::resolve::Applied;

use super::pass::View;
use super::service_name;
use super::services::{fill, headers, secret_headers};
use super::worker::Worker;
use crate::core::Core;

/// How long one question may take; a service that does not answer is not taken for busy for ever.
const ANSWER: Duration = Duration::from_secs(3);

/// What the busy probes of a service answer; `None` = nothing.
pub(super) async fn answers(
    core: &Core,
    unit: &UnitId,
    applied: &Applied,
    name: &str,
) -> BTreeMap<String, Option<Value>> {
    let Some(service) = applied.plan.services.get(name) else { return BTreeMap::new() };
    let secrets = secret_headers(core, applied);
    let log = core.supervisor.output(&service_name(unit, &applied.run_name(name)));
    let mut values = BTreeMap::new();
    for (what, probe) in &service.busy {
        let probe = fill(probe, applied);
        let headers = headers(&probe, &secrets);
        let context = ProbeContext {
            log: &log,
            log_from: 0,
            timeout: ANSWER,
            headers: &headers,
            env: &BTreeMap::new(),
            user: None,
            shim: Some(core.hooks.shim()),
        };
        values.insert(what.clone(), ask(&probe, &context).await.ok());
    }
    values
}

/// Asks the busy probes of some living services, by the names that they run under: answers by service and probe.
pub(crate) async fn ask_busy(
    core: &Core,
    local: &Local,
    services: &BTreeSet<String>,
) -> BTreeMap<String, BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for run in services {
        let Some((applied, name)) = local.owner(run) else { continue };
        let said = answers(core, &local.unit, applied, name).await;
        // A service that cannot be asked has nothing left to disturb.
        all.insert(
            run.clone(),
            said.into_iter().map(|(what, value)| (what, value.unwrap_or_default())).collect(),
        );
    }
    all
}

/// So many, in words: `2 kernels`, `1 kernel`.
fn so_many(n: u64, what: &str) -> String {
    let what = if n == 1 { what.strip_suffix('s').unwrap_or(what) } else { what };
    format!("{n} {what}")
}

/// What is busy, in words: `2 kernels`, `1 application`.
pub(crate) fn in_words(answers: &BTreeMap<String, BTreeMap<String, Value>>) -> Vec<String> {
    let mut named: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
    for (what, value) in answers.values().flatten().filter(|(_, value)| is_busy(value)) {
        match value {
            // Two services that name the same are busy with the same.
            Value::Array(items) => {
                named.entry(what).or_default().extend(items.iter().map(ToString::to_string));
            }
            Value::Number(n) => *counted.entry(what).or_default() += n.as_u64().unwrap_or(1),
            _ => {
                counted.entry(what).or_default();
            }
        }
    }
    let named = named.into_iter().map(|(what, items)| so_many(items.len() as u64, what));
    let words = |(what, n): (&str, u64)| if n == 0 { what.to_owned() } else { so_many(n, what) };
    named.chain(counted.into_iter().map(words)).collect()
}

impl Worker {
    /// Asks, remembers the answers for the observation, and returns what is busy in words.
    pub(super) async fn ask_busy(&mut self, _view: &View, services: &BTreeSet<String>) -> Vec<String> {
        in_words(&ask_busy(&self.core, &self.local, services).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_two_services_name_is_counted_once() {
        let mut answers: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        for (run, what, value) in [
            ("master", "applications", json!(["a", "b"])),
            ("worker", "applications", json!(["a"])),
            ("lab", "kernels", json!(1)),
            ("idle", "jobs", json!([])),
            ("other", "a session", json!(true)),
        ] {
            answers.insert(run.to_owned(), BTreeMap::from([(what.to_owned(), value)]));
        }
        assert_eq!(in_words(&answers), ["2 applications", "a session", "1 kernel"]);
    }
}
