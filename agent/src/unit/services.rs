//! A unit's services as they are: what the supervisor says, and what readiness probes answer. Owns the probers, one a
//! running service; they ask fast until it is ready and seldom from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stoker_host::services::probe::{ProbeContext, ask};
use stoker_host::services::{Observed, Phase, killed_for_memory};
use stoker_model::ids::UnitId;
use stoker_model::local::Local;
use stoker_model::observation::{Service, ServiceState};
use stoker_model::observe::services_of;
use stoker_model::probe::Probe;
use stoker_model::resolve::Applied;
use tokio::sync::Notify;

use super::service_name;
use super::trouble::Trouble;
use crate::core::Core;

/// Until a service is ready it is asked this often, the wait growing to the second.
const FIRST_ASK: Duration = Duration::from_millis(50);
const SLOW_ASK: Duration = Duration::from_millis(500);
/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long the status says that something of a service was killed for want of memory.
const REMEMBERED: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Asked {
    /// It was asked at all.
    answered: bool,
    ready: bool,
    was_ready: bool,
    reason: String,
    /// Processes of it that were killed for want of memory while it was looked at, and when that was last seen.
    killed: Option<(u64, Instant)>,
}

struct Prober {
    /// The process that it asks: another one gets another prober.
    run: (Option<u32>, Option<u64>, u32),
    /// The probes that it asks.
    probes: Vec<Probe>,
    asked: Arc<Mutex<Asked>>,
    /// Told once the first answer is there.
    first: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The unit's services.
pub(super) struct Services {
    core: Arc<Core>,
    unit: UnitId,
    wake: Arc<Notify>,
    seen: BTreeMap<String, Observed>,
    probers: BTreeMap<String, Prober>,
    /// What busy probes answered last, by service and probe.
    pub busy: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}

impl Services {
    pub(super) fn new(core: Arc<Core>, unit: UnitId, wake: Arc<Notify>) -> Self {
        let (seen, probers, busy) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { core, unit, wake, seen, probers, busy }
    }

    /// Looks at every service of what is applied and of what is frozen, and keeps a prober at each that runs.
    pub(super) async fn refresh(&mut self, local: &Local) -> Result<(), Trouble> {
        let names: BTreeSet<String> = local.living().flat_map(|applied| applied.runs().into_keys()).collect();
        self.seen.retain(|name, _| names.contains(name));
        self.probers.retain(|name, _| names.contains(name));
        self.busy.retain(|name, _| names.contains(name));
        for applied in local.living() {
            for name in applied.services.keys() {
                let run = applied.run_name(name);
                let observed = self.core.supervisor.observe(&service_name(&self.unit, &run)).await?;
                self.probe(&run, name, &observed, applied);
                self.seen.insert(run, observed);
            }
        }
        Ok(())
    }

    /// Waits until each running service was asked once. For an agent's first look at services that it finds running:
    /// without an answer they would be seen as starting, and charms would plan for that.
    pub(super) async fn first_answers(&self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        for prober in self.probers.values().filter(|prober| !read(&prober.asked).answered) {
            let _ = tokio::time::timeout_at(deadline, prober.first.notified()).await;
        }
    }

    fn probe(&mut self, name: &str, plain: &str, observed: &Observed, applied: &Applied) {
        if observed.phase != Phase::Running {
            // What was once ready stays known as such until the service is stopped on purpose.
            if observed.phase.is_final() {
                self.probers.remove(name);
            }
            return;
        }
        let Some(service) = applied.plan.services.get(plain) else { return };
        let probes: Vec<Probe> = service.ready.iter().map(|probe| fill(probe, applied)).collect();
        let live: Vec<Probe> = service.live.iter().map(|probe| fill(probe, applied)).collect();
        let run = (observed.pid, observed.started_ms, observed.restarts);
        if self.probers.get(name).is_some_and(|prober| prober.run == run && prober.probes == probes) {
            return;
        }
        let was_ready = self.probers.get(name).is_some_and(|p| read(&p.asked).was_ready);
        let asked = Arc::new(Mutex::new(Asked { was_ready, ..Asked::default() }));
        let first = Arc::new(Notify::new());
        let prober = Run {
            core: Arc::clone(&self.core),
            name: service_name(&self.unit, name),
            ready: probes.clone(),
            live,
            log_from: observed.log_from,
            memory_events: observed.memory_events.clone(),
            asked: Arc::clone(&asked),
            first: Arc::clone(&first),
            wake: Arc::clone(&self.wake),
            secrets: secret_headers(&self.core, applied),
        };
        let task = tokio::spawn(prober.run());
        self.probers.insert(name.to_owned(), Prober { run, probes, asked, first, task });
    }

    /// Services with a process, or one that is about to come back.
    pub(super) fn running(&self) -> BTreeSet<String> {
        let alive = |o: &Observed| matches!(o.phase, Phase::Starting | Phase::Running | Phase::Backoff);
        self.seen.iter().filter(|(_, observed)| alive(observed)).map(|(name, _)| name.clone()).collect()
    }

    /// What the supervisor says of a service.
    pub(super) fn get(&self, name: &str) -> Option<&Observed> {
        self.seen.get(name)
    }

    /// Notes that a service was just started or stopped.
    pub(super) fn forget(&mut self, name: &str) {
        self.seen.remove(name);
        self.probers.remove(name);
        self.busy.remove(name);
    }

    /// How each service is, by the name that it runs under.
    pub(super) fn observed(&self) -> BTreeMap<String, Service> {
        let each = |(name, observed): (&String, &Observed)| (name.clone(), self.state(name, observed));
        self.seen.iter().map(each).collect()
    }

    fn state(&self, name: &str, observed: &Observed) -> Service {
        let asked = self.probers.get(name).map(|prober| read(&prober.asked)).unwrap_or_default();
        let busy = self.busy.get(name).cloned().unwrap_or_default();
        let ended = || observed.exit.as_ref().map_or_else(|| "ended".to_owned(), how_it_ended);
        let (state, reason) = match observed.phase {
            Phase::Absent | Phase::Stopped => (ServiceState::Stopped, String::new()),
            Phase::Starting => (ServiceState::Starting, String::new()),
            Phase::Backoff if asked.was_ready => (ServiceState::Unready, ended()),
            Phase::Backoff => (ServiceState::Starting, format!("{}; starts again", ended())),
            Phase::Running if asked.ready => (ServiceState::Ready, String::new()),
            Phase::Running if asked.was_ready => (ServiceState::Unready, asked.reason),
            Phase::Running => (ServiceState::Starting, asked.reason),
            Phase::Failed | Phase::Exited => (ServiceState::Failed, ended()),
        };
        Service { state, reason, busy }
    }

    /// Which services lost processes since memory ran short, in words; the services themselves go on.
    pub(super) fn killed_in_words(&self) -> Option<String> {
        let one = |(name, prober): (&String, &Prober)| match read(&prober.asked).killed?.0 {
            1 => Some(format!("{name}: memory ran short, 1 process was killed")),
            n => Some(format!("{name}: memory ran short, {n} processes were killed")),
        };
        let all: Vec<String> = self.probers.iter().filter_map(one).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Services of what is applied that are on their way.
    pub(super) fn pending(&self, applied: &Applied, stopped: &[String]) -> Vec<String> {
        let waits = |(name, service): &(String, Service)| {
            let halted = stopped.iter().any(|s| s == name || s == "*");
            !halted && matches!(service.state, ServiceState::Starting | ServiceState::Stopped)
        };
        services_of(applied, &self.observed())
            .into_iter()
            .filter(waits)
            .map(|(name, _)| format!("service {name} starting"))
            .collect()
    }
}

/// How a process ended, in words.
pub(super) fn how_it_ended(exit: &stoker_host::services::Exit) -> String {
    match (exit.deadline, exit.code, exit.signal) {
        (true, ..) => "ran out of time".into(),
        (_, Some(code), _) => format!("exit status {code}"),
        (_, None, Some(9)) => "killed (signal 9; out of memory?)".into(),
        (_, None, Some(signal)) => format!("signal {signal}"),
        (_, None, None) => "ended".into(),
    }
}

fn read(asked: &Mutex<Asked>) -> Asked {
    asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A probe with everything but secrets resolved.
pub(super) fn fill(probe: &Probe, applied: &Applied) -> Probe {
    let text = |text: &String| applied.bindings.fill(text);
    Probe {
        http: probe.http.as_ref().map(text),
        tcp: probe.tcp.as_ref().map(text),
        log: probe.log.clone(),
        exec: probe.exec.as_ref().map(|words| words.iter().map(text).collect()),
        headers: probe.headers.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
        ..probe.clone()
    }
}

/// Values of secrets by the plan's name, for headers.
pub(super) fn secret_headers(core: &Core, applied: &Applied) -> BTreeMap<String, String> {
    let snapshot = core.snapshot();
    let value = |(name, id): (&String, &String)| {
        let key = applied.plan.secrets.get(name).and_then(|s| s.key.as_deref()).unwrap_or("value");
        let sealed = snapshot.secrets.get(id)?.sealed.get(key)?.clone();
        Some((name.clone(), core.sealer.unseal(id, &sealed).ok()?))
    };
    applied.bindings.secrets.iter().filter_map(value).collect()
}

/// A probe's headers with their secrets.
pub(super) fn headers(probe: &Probe, secrets: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let fill = |text: &str| {
        stoker_model::placeholder::fill::<std::convert::Infallible>(text, |_, name| {
            Ok(secrets.get(name).cloned().unwrap_or_default())
        })
        .unwrap_or_default()
    };
    probe.headers.iter().map(|(key, value)| (key.clone(), fill(value))).collect()
}

struct Run {
    core: Arc<Core>,
    name: String,
    ready: Vec<Probe>,
    live: Vec<Probe>,
    log_from: u64,
    memory_events: Option<PathBuf>,
    asked: Arc<Mutex<Asked>>,
    first: Arc<Notify>,
    wake: Arc<Notify>,
    secrets: BTreeMap<String, String>,
}

impl Run {
    async fn run(self) {
        let mut wait = FIRST_ASK;
        let mut misses = 0;
        // What was killed before is an earlier agent's to tell.
        let mut killed = self.killed();
        loop {
            let was = read(&self.asked);
            let probes = if was.ready && !self.live.is_empty() { &self.live } else { &self.ready };
            let failed = self.ask_all(probes).await;
            misses = if failed.is_some() { misses + 1 } else { 0 };
            // A single slow answer of a service that was ready is no outage.
            let ready = failed.is_none() || (was.ready && misses < 3);
            let count = self.killed();
            let now = Asked {
                answered: true,
                ready,
                was_ready: was.was_ready || ready,
                reason: if ready { String::new() } else { failed.unwrap_or_default() },
                killed: match count.saturating_sub(std::mem::replace(&mut killed, count)) {
                    0 => was.killed.filter(|(_, at)| at.elapsed() < REMEMBERED),
                    more => Some((was.killed.map_or(0, |(known, _)| known) + more, Instant::now())),
                },
            };
            if now != was {
                *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = now.clone();
                if !was.answered {
                    self.first.notify_one();
                }
                self.wake.notify_one();
            }
            wait = match (now.ready, misses) {
                (true, 0) if probes.is_empty() && self.memory_events.is_none() => return,
                (true, 0) => self.core.settings().probe_interval,
                (true, _) => Duration::from_secs(1),
                (false, _) => (wait + wait / 4).min(SLOW_ASK),
            };
            tokio::time::sleep(wait).await;
            if now.ready {
                wait = FIRST_ASK;
            }
        }
    }

    fn killed(&self) -> u64 {
        self.memory_events.as_deref().map_or(0, killed_for_memory)
    }

    /// The first probe that does not pass, in words.
    async fn ask_all(&self, probes: &[Probe]) -> Option<String> {
        let log = self.core.supervisor.output(&self.name);
        for probe in probes {
            let headers = headers(probe, &self.secrets);
            let context = ProbeContext {
                log: &log,
                log_from: self.log_from,
                timeout: ANSWER,
                headers: &headers,
                env: &BTreeMap::new(),
                user: None,
                shim: Some(self.core.hooks.shim()),
            };
            match ask(probe, &context).await {
                Ok(value) if probe.passes(&value) => {}
                Ok(value) => {
                    let at = probe.pointer.as_deref().unwrap_or("the answer");
                    let mut shown = value.to_string();
                    shown.truncate(shown.char_indices().nth(80).map_or(shown.len(), |(i, _)| i));
                    return Some(format!("{at} is {shown}"));
                }
                Err(failure) => return Some(failure.to_string()),
            }
        }
        None
    }
}
