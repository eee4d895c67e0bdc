//! Who is the master, how large the workers are, what the units tell each other.

use std::collections::BTreeMap;

use stoker_charm::observation::{Observation, Relation};
use stoker_charm::plan::Published;

use super::{Stuck, generation};
use crate::config::{Config, MIB};

/// Where the master's unit is remembered.
pub(super) const MASTER: &str = "master";

/// The cluster as this unit sees it.
pub(super) struct Cluster {
    unit: String,
    /// The master's unit.
    pub(super) master: String,
    /// The master's address, `spark://HOST:PORT`, with placeholders on its own unit.
    pub(super) url: String,
    /// The master's page, likewise.
    pub(super) ui: String,
    /// The history server's page, likewise.
    pub(super) history: String,
    /// Cores that this unit's worker offers.
    pub(super) worker_cores: u64,
    /// Bytes that this unit's worker offers.
    pub(super) worker_memory: u64,
    /// Heap of the history server.
    pub(super) history_memory: u64,
    /// Cores of all workers.
    pub(super) cores: u64,
    /// The masters of living generations by key, as the master's unit tells them to the others.
    masters: BTreeMap<String, String>,
}

impl Cluster {
    /// Who does what. The master's unit is chosen once, by the leader, and again only when that unit is gone.
    pub(super) fn read(seen: &Observation, config: &Config) -> Result<Self, Stuck> {
        let remembered =
            seen.state.app.get(MASTER).filter(|unit| seen.units.contains(unit) || **unit == seen.unit);
        let master = match remembered {
            Some(unit) => unit.clone(),
            None if seen.leader => seen.unit.clone(),
            None => return Err(Stuck::waiting("waiting for the leader to choose the master's unit")),
        };
        let members: Vec<&Relation> = seen.relations.iter().filter(|r| r.endpoint == "members").collect();
        let told = |unit: &str, key: &str| members.iter().find_map(|r| r.units.get(unit)?.get(key)).cloned();
        let here = master == seen.unit;
        let address = |key: &str, own: &str| {
            if here {
                return Ok(own.to_owned());
            }
            told(&master, key)
                .ok_or_else(|| Stuck::waiting(format!("waiting for {master} to tell the master's address")))
        };
        let size = Size::of(seen, config, here);
        let others = members.iter().flat_map(|r| &r.units).filter(|(unit, _)| seen.units.contains(unit));
        let cores =
            others.filter_map(|(_, bag)| bag.get("cores")?.parse::<u64>().ok()).sum::<u64>() + size.cores;
        Ok(Self {
            url: address("master", "spark://${address:default}:${port:master}")?,
            ui: address("ui", "http://${address:default}:${port:master-ui}")?,
            history: address("history", "http://${address:default}:${port:history}")?,
            masters: told(&master, "masters")
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default(),
            unit: seen.unit.clone(),
            master,
            worker_cores: size.cores,
            worker_memory: size.memory,
            history_memory: size.history,
            cores,
        })
    }

    /// Whether the master runs on this unit.
    pub(super) fn master_here(&self) -> bool {
        self.master == self.unit
    }

    /// Takes the master of this generation, and of no other.
    pub(super) fn follow(&mut self, key: &str) -> Result<(), Stuck> {
        if self.master_here() || self.masters.is_empty() {
            return Ok(());
        }
        let Some(url) = self.masters.get(key) else {
            return Err(Stuck::waiting(format!("waiting for {} to tell the master of {key}", self.master)));
        };
        self.url.clone_from(url);
        Ok(())
    }

    /// What the other units are told.
    pub(super) fn publish(&self, seen: &Observation, key: &str) -> Published {
        let mut unit = BTreeMap::from([
            ("cores".to_owned(), self.worker_cores.to_string()),
            ("memory".to_owned(), self.worker_memory.to_string()),
        ]);
        if self.master_here() {
            unit.insert("master".to_owned(), self.url.clone());
            let masters = generation::masters(seen, key, &self.url);
            unit.insert("masters".to_owned(), serde_json::to_string(&masters).unwrap_or_default());
            unit.insert("ui".to_owned(), self.ui.clone());
            unit.insert("history".to_owned(), self.history.clone());
        }
        Published { unit, ..Published::default() }
    }
}

struct Size {
    cores: u64,
    memory: u64,
    history: u64,
}

impl Size {
    /// A tenth is left to what heaps do not count; the daemons' heaps come off what remains.
    fn of(seen: &Observation, config: &Config, master: bool) -> Self {
        let grant = seen.host.grant;
        let whole = |bytes: u64| bytes / MIB * MIB;
        let history =
            config.history_memory.unwrap_or_else(|| whole(grant.memory / 8).clamp(512 * MIB, 4096 * MIB));
        let daemons = config.daemon_memory + if master { config.daemon_memory + history } else { 0 };
        let left = (grant.memory / 10 * 9).saturating_sub(daemons);
        Self {
            cores: config.worker_cores.unwrap_or(grant.cores).max(1),
            memory: whole(config.worker_memory.unwrap_or(left)).max(512 * MIB),
            history,
        }
    }
}
