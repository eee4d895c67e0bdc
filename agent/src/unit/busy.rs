//! Asking what is busy: which running work a stop would disturb.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use stoker_host::services::probe::{ProbeContext, ask};
use stoker_model::ids::UnitId;
use stoker_model::probe::is_busy;
use stoker_model::resolve::Applied;

use super::pass::View;
use super::service_name;
use super::services::{fill, headers, secret_headers};
use super::worker::Worker;
use crate::core::Core;

/// How long one question may take; a service that does not answer is not taken for busy for ever.
const ANSWER: Duration = Duration::from_secs(3);

/// Asks the busy probes of some services of an applied plan: answers by service and probe.
pub(crate) async fn ask_busy(
    core: &Core,
    unit: &UnitId,
    applied: &Applied,
    services: &BTreeSet<String>,
) -> BTreeMap<String, BTreeMap<String, Value>> {
    let secrets = secret_headers(core, applied);
    let mut answers = BTreeMap::new();
    for name in services {
        let Some(service) = applied.plan.services.get(name) else { continue };
        let log = core.supervisor.output(&service_name(unit, name));
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
            // A service that cannot be asked has nothing left to disturb.
            values.insert(what.clone(), ask(&probe, &context).await.unwrap_or(Value::Null));
        }
        answers.insert(name.clone(), values);
    }
    answers
}

/// What is busy, in words: `2 kernels`, `1 apps (app-1)`.
pub(crate) fn in_words(answers: &BTreeMap<String, BTreeMap<String, Value>>) -> Vec<String> {
    let mut words = Vec::new();
    for values in answers.values() {
        for (what, value) in values.iter().filter(|(_, value)| is_busy(value)) {
            words.push(match value {
                Value::Array(items) => format!("{} {what}", items.len()),
                Value::Number(n) => format!("{n} {what}"),
                _ => what.clone(),
            });
        }
    }
    words
}

impl Worker {
    /// Asks, remembers the answers for the observation, and returns what is busy in words.
    pub(super) async fn ask_busy(&mut self, _view: &View, services: &BTreeSet<String>) -> Vec<String> {
        let Some(applied) = self.local.applied.clone() else { return Vec::new() };
        let answers = ask_busy(&self.core, &self.id, &applied, services).await;
        in_words(&answers)
    }
}
