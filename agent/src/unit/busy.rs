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
    let mut words = Vec::new();
    for values in answers.values() {
        for (what, value) in values.iter().filter(|(_, value)| is_busy(value)) {
            words.push(match value {
                Value::Array(items) => so_many(items.len() as u64, what),
                Value::Number(n) => n.as_u64().map_or_else(|| format!("{n} {what}"), |n| so_many(n, what)),
                _ => what.clone(),
            });
        }
    }
    words
}

impl Worker {
    /// Asks, remembers the answers for the observation, and returns what is busy in words.
    pub(super) async fn ask_busy(&mut self, _view: &View, services: &BTreeSet<String>) -> Vec<String> {
        in_words(&ask_busy(&self.core, &self.local, services).await)
    }
}
