//! Which generation master and workers are of, and how large each one's workers are. Owns the key, the sizes and who is
//! sent where while one starts beside another.
//!
//! Executors run from their worker's Spark and die with it. So what they have in common is never exchanged below them:
//! another build, Hadoop client or Java is another generation, with a master and workers of its own, and programs that
//! run go on with those that they began on. Python is not in the key: a driver names the one of its executors by a path
//! that never changes, so that workers need not know it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stoker_charm::digest::of_document;
use stoker_charm::observation::{Generation, Observation, Service};
use stoker_charm::probe::is_busy;

use super::Scene;
use crate::config::{Config, MIB};

/// Where the sizes of living generations are remembered.
pub(super) const SIZES: &str = "sizes";
/// The least that an executor takes, and so a worker offers.
const LEAST: u64 = 512 * MIB;

/// Cores and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Size {
    pub(super) cores: u64,
    pub(super) memory: u64,
}

/// The workers of a generation on this unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Workers {
    /// What they were to have together.
    of: Size,
    /// Each one's. The first came with the generation, a further one when memory was freed.
    each: Vec<Size>,
}

/// The generation that the plan is of.
#[derive(Debug, Clone, Default)]
pub(super) struct Own {
    pub(super) key: String,
    /// Its workers.
    pub(super) workers: Vec<Size>,
    /// Whether programs are still sent to the generation before.
    pub(super) starting: bool,
    /// Whether it is not even applied yet.
    pub(super) coming: bool,
    sizes: BTreeMap<String, Workers>,
}

impl Own {
    pub(super) fn of(scene: &Scene<'_>) -> Self {
        let key = key(scene);
        let seen = scene.seen;
        let applied = seen.generation.as_ref().map(|generation| generation.key.as_str());
        let alive = |other: &str| other == key || living(seen).any(|living| living == other);
        let mut sizes: BTreeMap<String, Workers> =
            seen.state.unit.get(SIZES).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        sizes.retain(|other, _| alive(other));
        let whole = Size { cores: scene.cluster.worker_cores, memory: scene.cluster.worker_memory };
        let used = used(seen, &key, &sizes);
        let own = sizes.entry(key.clone()).or_default();
        if own.of != whole || own.each.is_empty() {
            *own = Workers { of: whole, each: vec![rest(whole, used, &scene.config)] };
        }
        let offered = sum(&own.each);
        let more = whole.memory.saturating_sub(offered.memory);
        // What is freed goes to a further one; one that runs is never resized.
        if own.each.len() == 1
            && more >= LEAST
            && seen.generations.is_empty()
            && applied == Some(key.as_str())
        {
            own.each.push(Size { cores: whole.cores.saturating_sub(offered.cores).max(1), memory: more });
        }
        let coming = applied.is_some_and(|applied| applied != key);
        let starting = coming || seen.generations.iter().any(|generation| !generation.draining);
        Self { workers: own.each.clone(), starting, coming, sizes, key }
    }

    /// What to remember.
    pub(super) fn memory(&self) -> (String, String) {
        (SIZES.to_owned(), serde_json::to_string(&self.sizes).unwrap_or_default())
    }

    /// The largest worker's memory.
    pub(super) fn largest(&self) -> u64 {
        self.workers.iter().map(|size| size.memory).max().unwrap_or_default()
    }
}

/// The name of what belongs to the unit's worker of this number.
pub(super) fn nth(name: &str, at: usize) -> String {
    if at == 0 { name.to_owned() } else { format!("{name}-{}", at + 1) }
}

/// The masters of living generations by key, with the plan's own.
pub(super) fn masters(seen: &Observation, key: &str, url: &str) -> BTreeMap<String, String> {
    let at = |port: u16| format!("spark://${{address:default}}:{port}");
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for generation in &seen.generations {
        all.extend(generation.ports.get("master").map(|port| (generation.key.clone(), at(*port))));
    }
    if let Some(applied) = &seen.generation {
        all.extend(seen.ports.get("master").map(|port| (applied.key.clone(), at(*port))));
    }
    all.insert(key.to_owned(), url.to_owned());
    all
}

/// What must be alike everywhere: the trees that daemons and executors run from, and the Java that runs them.
fn key(scene: &Scene<'_>) -> String {
    let mut trees = scene.alignment.trees(&scene.spark);
    let names: BTreeSet<String> = scene.alignment.tree_names().into_iter().collect();
    trees.retain(|name, _| names.contains(name));
    let attached = stoker_charm::java::attached(scene.seen).map(|java| java.build.to_string());
    let exact = of_document(&(trees, &scene.java.home, attached));
    let exact = exact.map(|digest| digest.hex()[..8].to_owned()).unwrap_or_default();
    format!("{}+{}+java{}+{exact}", scene.spark.version, scene.alignment.client_version, scene.java.version)
}

/// The keys that notebooks' kernels still use.
pub(super) fn held(seen: &Observation) -> Vec<String> {
    let told = seen.relations.iter().filter(|r| r.endpoint == "spark").filter_map(|r| r.app.get("holds"));
    let held: BTreeSet<String> =
        told.filter_map(|text| serde_json::from_str::<Vec<String>>(text).ok()).flatten().collect();
    // Only what runs can be kept, and what others tell is no key of ours until it is one.
    held.into_iter().filter(|key| living(seen).any(|living| living == key)).collect()
}

/// The keys of all that runs.
fn living(seen: &Observation) -> impl Iterator<Item = &str> {
    let applied = seen.generation.iter().map(|generation| generation.key.as_str());
    applied.chain(seen.generations.iter().map(|generation| generation.key.as_str()))
}

/// What other generations here use: all that their workers offer, but for those that were asked and are idle.
fn used(seen: &Observation, key: &str, sizes: &BTreeMap<String, Workers>) -> Size {
    let idle = |services: &BTreeMap<String, Service>| {
        let workers = services.iter().filter(|(name, _)| name.starts_with("worker"));
        let mut asked = workers.map(|(_, worker)| &worker.busy).peekable();
        asked.peek().is_some() && asked.all(|busy| !busy.is_empty() && !busy.values().any(is_busy))
    };
    let applied = seen.generation.iter().map(|generation| (&generation.key, &seen.services));
    let frozen = seen.generations.iter().map(|Generation { key, services, .. }| (key, services));
    let others = applied.chain(frozen).filter(|(other, services)| *other != key && !idle(services));
    let each: Vec<Size> = others.filter_map(|(other, _)| Some(sum(&sizes.get(other)?.each))).collect();
    sum(&each)
}

/// What is left for the first worker of a new generation: enough for an executor in any case.
fn rest(whole: Size, used: Size, config: &Config) -> Size {
    let least = config.executor_memory.unwrap_or(LEAST).max(LEAST).min(whole.memory);
    Size {
        cores: whole.cores.saturating_sub(used.cores).max(1),
        memory: (whole.memory.saturating_sub(used.memory) / MIB * MIB).max(least),
    }
}

fn sum(sizes: &[Size]) -> Size {
    sizes.iter().fold(Size::default(), |all, size| Size {
        cores: all.cores + size.cores,
        memory: all.memory + size.memory,
    })
}
