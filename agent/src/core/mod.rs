//! The agent's core: what it holds open, and the one way everything else reads and writes through it.
//!
//! Owns the store's mirror, the journal, the builds, the supervisor and the unit workers' handles. It must not
//! decide: decisions are in `stoker-model`, verbs in `change`, a unit's doings in `unit`.

mod align;
mod audit;
mod builds;
mod charms;
mod check;
pub(crate) mod doctor;
mod documents;
mod firewall;
pub(crate) mod fsck;
mod kept;
mod logs;
mod lookup;
mod metrics;
mod mirror;
mod recipes;
mod room;
mod run;
mod seal;
mod seen;
mod settle;
mod status;
mod why;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use stoker_host::builds::Builds;
use stoker_host::claims::Claims;
use stoker_host::fs::failpoint::hit;
use stoker_host::services::Supervisor;
use stoker_model::exposure;
use stoker_model::ids::{Digest, UnitId};
use stoker_model::keys::Key;
use stoker_model::observation::Host;
use stoker_model::resolve::Ports;
use stoker_model::snapshot::Snapshot;
use stoker_store::{Committed, Journal, Store, StoreError, Txn};
use tokio::sync::{Notify, watch};

use self::audit::Audit;
pub(crate) use self::builds::moving::arriving;
pub(crate) use self::builds::{MadeBuild, inspect_without_agent};
pub(crate) use self::charms::LoadedCharm;
pub(crate) use self::firewall::Firewall;
pub(crate) use self::lookup::{find_app, find_unit};
pub(crate) use self::run::run;
pub(crate) use self::seal::Sealer;
pub(crate) use self::seen::{Outcome, Seen};
pub(crate) use crate::api::ProgressSink;
use crate::hooks::Hooks;
use crate::problem::{Problem, codes};
use crate::settings::{Paths, Settings};

/// The one model there is so far; its name is in every key already.
pub(crate) const MODEL: &str = "default";

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Everything that an agent holds open.
pub(crate) struct Core {
    /// Where everything lies.
    pub paths: Paths,
    settings: RwLock<Arc<Settings>>,
    store: Arc<dyn Store>,
    /// This host's journal.
    pub journal: Journal,
    /// Builds on this host.
    pub builds: Arc<Builds>,
    /// What keeps services.
    pub supervisor: Arc<dyn Supervisor>,
    /// Told when something that is run apart changes.
    pub apart: Notify,
    /// Runs charms.
    pub hooks: Hooks,
    /// Who asked for what.
    pub audit: Audit,
    /// When this agent started, milliseconds since 1970.
    pub started: u64,
    /// Seals and opens secrets.
    pub sealer: Sealer,
    host: RwLock<Arc<Host>>,
    mirror: watch::Sender<Arc<Snapshot>>,
    /// How far each unit's worker has come.
    pub seen: Seen,
    workers: Mutex<BTreeMap<UnitId, Arc<Notify>>>,
    ports: Mutex<BTreeMap<UnitId, Ports>>,
    choosing: Mutex<()>,
    claims: Claims,
    /// The revision that each change of this agent's life was committed at.
    revisions: Mutex<BTreeMap<u64, u64>>,
    /// Keeps other hosts from services that only some may reach.
    pub firewall: Firewall,
    /// Verbs write one at a time: each is checked against the snapshot that it is committed on.
    writing: tokio::sync::Mutex<()>,
    /// Unit workers end when true.
    pub rest: watch::Sender<bool>,
    /// They have ended.
    pub rested: watch::Sender<bool>,
    /// Ends the agent when true.
    pub stop: watch::Sender<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold cannot be left half changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// The settings now in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.wake_all();
    }

    /// This host's facts.
    pub(crate) fn host(&self) -> Arc<Host> {
        Arc::clone(&self.host.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes new host facts over; units are woken where they differ.
    pub(crate) fn set_host(&self, host: Host) {
        let mut slot = self.host.write().unwrap_or_else(PoisonError::into_inner);
        if **slot != host {
            *slot = Arc::new(host);
            drop(slot);
            self.wake_all();
        }
    }

    /// The model as last seen.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.mirror.borrow())
    }

    /// Wakes at each new revision.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.mirror.subscribe()
    }

    /// Commits, and returns once the mirror shows it. False where a compare failed and nothing was written.
    pub(crate) async fn commit(&self, txn: Txn) -> Result<Option<u64>, StoreError> {
        if txn.is_empty() {
            return Ok(Some(self.snapshot().revision));
        }
        hit("agent.store.before-commit");
        match self.store.commit(txn).await? {
            Committed::No => Ok(None),
            Committed::Yes(revision) => {
                hit("agent.store.committed");
                let mut follow = self.follow();
                // The mirror's sender lives as long as the core, so waiting ends.
                let _ = follow.wait_for(|snapshot| snapshot.revision >= revision).await;
                Ok(Some(revision))
            }
        }
    }

    /// A key of the model.
    pub(crate) fn key(key: &Key) -> String {
        key.of(MODEL)
    }

    /// The unit's folder.
    pub(crate) fn unit_folder(&self, unit: &UnitId) -> PathBuf {
        self.paths.models.join(MODEL).join("units").join(unit.dashed())
    }

    /// The folder that goes with a tree, of one of the charm's users.
    pub(crate) fn tree_folder(&self, tree: &Digest, user: Option<&str>) -> PathBuf {
        self.paths.warm.join(tree.hex()).join(user.unwrap_or("own"))
    }

    /// Wakes a unit's worker.
    pub(crate) fn wake(&self, unit: &UnitId) {
        if let Some(worker) = lock(&self.workers).get(unit) {
            worker.notify_one();
        }
    }

    fn wake_all(&self) {
        lock(&self.workers).values().for_each(|worker| worker.notify_one());
    }

    /// Ports that units of this host other than this one have.
    pub(crate) fn ports_of_others(&self, unit: &UnitId) -> std::collections::BTreeSet<u16> {
        let all = lock(&self.ports);
        let others = all.iter().filter(|(other, _)| *other != unit).flat_map(|(_, ports)| ports.values());
        others.flat_map(|(first, count)| *first..=first.saturating_add(count - 1)).collect()
    }

    /// The address that services bind.
    pub(crate) fn address(&self) -> IpAddr {
        let host = self.host();
        let text = host.addresses.get("default").map_or("127.0.0.1", String::as_str);
        text.parse().unwrap_or(LOOPBACK)
    }

    /// The address that services of an application bind: loopback until it is exposed.
    pub(crate) fn address_of(&self, app: &str) -> IpAddr {
        let snapshot = self.snapshot();
        let text = exposure::address(&self.host(), snapshot.apps.get(app).map(AsRef::as_ref));
        text.parse().unwrap_or(LOOPBACK)
    }

    /// Held from looking for a free port to [`Core::set_ports`]: two units that looked at once would find the same one.
    pub(crate) fn choosing_ports(&self) -> MutexGuard<'_, ()> {
        lock(&self.choosing)
    }

    /// Claims ports that no other agent of this host may allot from now on; false where one has them.
    pub(crate) fn claim_ports(&self, first: u16, count: u16) -> bool {
        // Services are on one of these, and may go to the other.
        let addresses = [self.address(), LOOPBACK];
        let held = addresses.iter().take_while(|address| self.claims.hold(**address, first, count)).count();
        let all = held == addresses.len();
        for address in addresses.iter().take(if all { 0 } else { held }) {
            self.claims.release(*address, first, count);
        }
        all
    }

    /// Remembers a unit's ports; none when it is gone.
    pub(crate) fn set_ports(&self, unit: &UnitId, ports: Option<Ports>) {
        let mut all = lock(&self.ports);
        let before = match ports {
            Some(ports) => {
                for (first, count) in ports.values() {
                    // Where another agent was quicker while this one was away, the listener will be told of.
                    self.claim_ports(*first, *count);
                }
                all.insert(unit.clone(), ports)
            }
            None => all.remove(unit),
        };
        let now = all.get(unit);
        let gone = |name: &String| now.is_none_or(|now| !now.contains_key(name));
        for (_, (first, count)) in before.iter().flatten().filter(|(name, _)| gone(name)) {
            for address in [self.address(), LOOPBACK] {
                self.claims.release(address, *first, *count);
            }
        }
    }

    /// Refuses a model that is not there.
    pub(crate) fn check_model(model: &str) -> Result<(), Problem> {
        if model == MODEL {
            return Ok(());
        }
        Err(Problem::new(codes::NOT_FOUND, format!("cannot use model `{model}`: there is only `{MODEL}`")))
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// A time for people and documents: RFC 3339 in UTC.
pub(crate) fn rfc3339(millis: u64) -> String {
    let seconds = i64::try_from(millis).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(seconds).map(|t| t.to_string()).unwrap_or_default()
}

/// A random id of `bytes` bytes in hexadecimal.
pub(crate) fn random_id(bytes: usize) -> Result<String, Problem> {
    let mut buffer = vec![0u8; bytes];
    getrandom::fill(&mut buffer).map_err(|e| {
        Problem::new(codes::INTERNAL, "cannot make an id: the system gives no randomness")
            .evidence(e.to_string())
    })?;
    Ok(hex::encode(buffer))
}
