//! What the agent tells a Prometheus: units, services, changes, builds, charms' runs, requests, disk and memory.
//!
//! What can be read from the model is read when it is asked for, so that nothing is kept twice; only what happens is
//! counted. Names are of the convention (one prefix, base units, `_total` for counters), labels have no ids but those of
//! applications. It must not ask services or walk builds.

use std::collections::BTreeMap;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use stoker_model::observation::ServiceState;
use stoker_model::snapshot::Snapshot;
use stoker_model::status::State;

use super::Core;
use crate::hooks::{HookCounts, Labels};
use crate::problem::Problem;

const STATES: [State; 7] = [
    State::Unknown,
    State::Terminated,
    State::Active,
    State::Waiting,
    State::Maintenance,
    State::Blocked,
    State::Error,
];

const SERVICE_STATES: [(ServiceState, &str); 5] = [
    (ServiceState::Stopped, "stopped"),
    (ServiceState::Starting, "starting"),
    (ServiceState::Ready, "ready"),
    (ServiceState::Unready, "unready"),
    (ServiceState::Failed, "failed"),
];

/// What is told beside the model.
#[derive(Debug, Default)]
struct Agent {
    hooks: HookCounts,
    /// Requests that were noted, by how they ended.
    requests: BTreeMap<&'static str, u64>,
    builds: Option<u64>,
    /// Total and free bytes of the disk of the agent's folder.
    disk: Option<(u64, u64)>,
    memory: Option<u64>,
    started: u64,
}

impl Core {
    /// The text that a Prometheus reads: `OpenMetrics`, or the older form.
    pub(crate) fn metrics(&self, open: bool) -> Result<String, Problem> {
        let disk = stoker_host::facts::disk(&self.paths.root).ok();
        let agent = Agent {
            hooks: self.hooks.counts.clone(),
            requests: self.audit.counts(),
            builds: self.builds().ok().map(|builds| builds.len() as u64),
            disk: disk.map(|disk| (disk.total, disk.free)),
            memory: resident(),
            started: self.started,
        };
        let text =
            text(&self.snapshot(), &agent).map_err(|e| Problem::internal("cannot write the metrics", &e))?;
        Ok(if open { text } else { older(&text) })
    }
}

fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

fn counted(n: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(n);
    counter
}

/// A value that is one of many.
#[allow(clippy::cast_possible_wrap, reason = "counts and bytes are far below 2^63")]
fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(value as i64);
    registry.register(name, help, gauge);
}

fn text(snapshot: &Snapshot, agent: &Agent) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("stoker");
    let build: Family<Labels, Gauge> = Family::default();
    build.get_or_create(&labels([("version", env!("CARGO_PKG_VERSION"))])).set(1);
    registry.register("build_info", "The version of the agent, whose value is always 1", build);
    gauge(
        &mut registry,
        "agent_start_time_seconds",
        "When the agent started, in seconds since 1970",
        agent.started / 1000,
    );
    if let Some(bytes) = agent.memory {
        gauge(
            &mut registry,
            "agent_resident_memory_bytes",
            "Memory of the agent, without its services",
            bytes,
        );
    }
    if let Some((total, free)) = agent.disk {
        gauge(&mut registry, "disk_size_bytes", "Size of the disk that the agent's folder is on", total);
        gauge(&mut registry, "disk_free_bytes", "What of that disk is free", free);
    }
    if let Some(builds) = agent.builds {
        gauge(&mut registry, "builds", "Builds that are kept", builds);
    }
    gauge(&mut registry, "applications", "Applications of the model", snapshot.apps.len() as u64);
    gauge(&mut registry, "relations", "Relations of the model", snapshot.relations.len() as u64);
    let rolling = snapshot.apps.values().filter(|app| app.rollout.as_ref().is_some_and(|r| !r.done)).count();
    gauge(
        &mut registry,
        "rollouts_in_progress",
        "Applications whose units go to another release",
        rolling as u64,
    );

    let units: Family<Labels, Gauge> = Family::default();
    let services: Family<Labels, Gauge> = Family::default();
    for app in snapshot.apps.keys() {
        // Every series is there from the beginning: what first appears with its first event cannot be compared.
        for state in STATES {
            units.get_or_create(&labels([("app", app), ("state", state.word())])).set(0);
        }
        for (_, word) in SERVICE_STATES {
            services.get_or_create(&labels([("app", app), ("state", word)])).set(0);
        }
    }
    for unit in snapshot.units.values() {
        let report = snapshot.reports.get(&unit.id);
        let state = report.map(|report| report.status.state).unwrap_or_default();
        units.get_or_create(&labels([("app", &unit.id.app), ("state", state.word())])).inc();
        for service in report.into_iter().flat_map(|report| report.services.values()) {
            let word =
                SERVICE_STATES.iter().find(|(state, _)| *state == service.state).map_or("", |(_, word)| word);
            services.get_or_create(&labels([("app", &unit.id.app), ("state", word)])).inc();
        }
    }
    registry.register("units", "Units by application and status", units);
    registry.register("services", "Services by application and condition", services);

    let changes = snapshot.model.as_ref().map_or(0, |model| model.changes);
    registry.register("changes", "Changes that were made to the model", counted(changes));
    let requests: Family<Labels, Counter> = Family::default();
    for (result, n) in &agent.requests {
        requests.get_or_create(&labels([("result", result)])).inc_by(*n);
    }
    registry.register(
        "requests",
        "Requests beside changes that made or asked for something, by how they ended",
        requests,
    );
    registry.register("hook_runs", "Runs of charms, by how they ended", agent.hooks.runs.clone());
    registry.register("hook_duration_seconds", "How long runs of charms took", agent.hooks.seconds.clone());

    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The form of before `OpenMetrics`: a counter is described by the name that its samples have.
fn older(text: &str) -> String {
    let counter = |line: &str| line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(str::to_owned);
    let counters: Vec<String> = text.lines().filter_map(counter).collect();
    let mut out = String::with_capacity(text.len() + 64 * counters.len());
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let named = line.strip_prefix("# ").and_then(|rest| {
            let (kind, rest) = rest.split_once(' ')?;
            let (name, rest) = rest.split_once(' ')?;
            counters.iter().any(|counter| counter == name).then(|| format!("# {kind} {name}_total {rest}"))
        });
        out.push_str(named.as_deref().unwrap_or(line));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stoker_model::record::Model;

    use super::*;

    fn agent() -> Agent {
        let hooks = HookCounts::default();
        hooks.ran(true, std::time::Duration::from_millis(3));
        Agent { hooks, requests: [("done", 2), ("failed", 0)].into(), builds: Some(4), ..Agent::default() }
    }

    fn model() -> Snapshot {
        let model =
            Model { format: 1, name: "m".into(), uuid: "u".into(), changes: 7, relations: 0, actions: 0 };
        Snapshot { model: Some(Arc::new(model)), ..Snapshot::default() }
    }

    #[test]
    fn counters_are_described_by_the_names_that_they_have() {
        let open = text(&model(), &agent()).unwrap();
        assert!(open.contains("# TYPE stoker_changes counter\nstoker_changes_total 7\n"), "{open}");
        assert!(open.ends_with("# EOF\n"));
        let older = older(&open);
        assert!(older.contains("# TYPE stoker_changes_total counter\nstoker_changes_total 7\n"), "{older}");
        assert!(!older.contains("EOF"));
        // Each sample's family is described, once.
        for line in older.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert_eq!(older.matches(&format!("# TYPE {family} ")).count(), 1, "{name}");
            assert_eq!(older.matches(&format!("# HELP {family} ")).count(), 1, "{name}");
            assert!(name.starts_with("stoker_"), "{name}");
        }
    }

    #[test]
    fn what_has_not_happened_is_there_as_zero() {
        let text =
            text(&Snapshot::default(), &Agent { requests: [("refused", 0)].into(), ..Agent::default() })
                .unwrap();
        for line in [
            "stoker_changes_total 0",
            "stoker_requests_total{result=\"refused\"} 0",
            "stoker_hook_runs_total{result=\"failed\"} 0",
            "stoker_hook_duration_seconds_count 0",
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
    }
}
