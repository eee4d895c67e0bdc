//! Previews: charms run over an overlay of the model until their plans no longer change; nothing is written, started
//! or stopped. Tasks are assumed to pass, and services to become ready.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stoker_model::digest::of_document;
use stoker_model::exposure;
use stoker_model::generation::{Numbered, folders, named, split};
use stoker_model::ids::{Digest, UnitId};
use stoker_model::local::Local;
use stoker_model::observation::{Life, Service, ServiceState, TaskState};
use stoker_model::observe::{Here, missing_resources, observe, task_owner};
use stoker_model::plan::{Plan, Port, Task};
use stoker_model::record::{TaskResult, Unit, UnitReport};
use stoker_model::report::bags;
use stoker_model::resolve::{Applied, Bindings, Changes, resolve};
use stoker_model::snapshot::Snapshot;

use super::bind::{files_root, place, port_name, recipe};
use super::busy::{ask_busy, in_words};
use crate::api::types::{Difference, Preview, UnitPreview};
use crate::core::Core;
use crate::problem::{Problem, chain};

/// Rounds over all units; a model that needs more does not settle.
const ROUNDS: usize = 24;

struct Imagined {
    before: Local,
    local: Local,
    services: BTreeMap<String, Service>,
    gone: bool,
}

/// What a model would lead to.
pub(crate) async fn simulate(core: &Core, wanted: &Snapshot) -> Result<Preview, Problem> {
    let mut snapshot = wanted.clone();
    let mut units: BTreeMap<UnitId, Imagined> = BTreeMap::new();
    let mut problems = BTreeSet::new();
    for id in snapshot.units.keys() {
        let mut local = core.local(id)?.unwrap_or_else(|| Local::new(id.clone()));
        let report = core.snapshot().reports.get(id).cloned();
        let mut services = report.map(|report| reported(&local, &report)).unwrap_or_default();
        // A move asks what would go on beside it, and the charm plans by the answers.
        let of = local.applied.as_ref().and_then(|applied| applied.bindings.generation.as_ref());
        let n = of.map(|generation| generation.n);
        let runs = |(run, service): &(&String, &Service)| {
            n.is_some() && split(run).1 == n && service.state != ServiceState::Stopped
        };
        let newest: BTreeSet<String> = services.iter().filter(runs).map(|(run, _)| run.clone()).collect();
        for (run, busy) in ask_busy(core, &local, &newest).await {
            services.entry(run).or_default().busy = busy;
        }
        let before = local.clone();
        // A move that waits is on its way already: what is previewed comes after it.
        if let Some(candidate) = local.candidate.clone().filter(|c| c.plan.hold.is_none()) {
            become_applied(&mut local, candidate);
        }
        units.insert(id.clone(), Imagined { before, local, services, gone: false });
    }
    let mut settled = false;
    for _ in 0..ROUNDS {
        let mut moved = false;
        for (id, imagined) in units.iter_mut().filter(|(_, imagined)| !imagined.gone) {
            let Some(unit) = snapshot.units.get(id).cloned() else { continue };
            moved |= step(core, &mut snapshot, &unit, imagined, &mut problems).await?;
        }
        if !moved {
            settled = true;
            break;
        }
    }
    if !settled {
        problems.insert("the plans do not settle".to_owned());
    }
    let mut preview = Preview { problems: problems.into_iter().collect(), ..Preview::default() };
    for (id, imagined) in &units {
        describe(core, id, imagined, &mut preview).await;
    }
    preview.changes = preview.units.iter().any(|unit| unit.effect != "keep");
    let token =
        serde_json::json!({"units": preview.units, "one_way": preview.one_way, "problems": preview.problems});
    let digest = of_document(&token).map_err(|e| Problem::internal("cannot make the preview's token", &e))?;
    digest.hex()[..24].clone_into(&mut preview.token);
    Ok(preview)
}

/// One unit's turn: true where its plan, or what it publishes, changed.
async fn step(
    core: &Core,
    snapshot: &mut Snapshot,
    unit: &Unit,
    imagined: &mut Imagined,
    problems: &mut BTreeSet<String>,
) -> Result<bool, Problem> {
    if unit.life == Life::Dying && unit.force {
        imagined.gone = true;
        return Ok(true);
    }
    let Some(release) = snapshot.release_of(unit).cloned() else { return Ok(false) };
    if let Some(name) = missing_resources(&release).first() {
        problems.insert(format!("{}: attach {name}", unit.id));
        return Ok(false);
    }
    let host = core.host();
    let users = Core::users_of(Some(&release));
    let here = Here { host: &host, users: &users, services: &imagined.services };
    let Some(observation) = observe(snapshot, unit, &imagined.local, here) else { return Ok(false) };
    let digest = of_document(&observation).map_err(|e| Problem::internal("cannot preview", &e))?;
    if imagined.local.answered.as_ref() == Some(&digest) {
        return Ok(false);
    }
    let folder = core.builds.tree(&release.charm).map_err(|e| Problem::internal("cannot preview", &e))?;
    let timeout = core.settings().charm_timeout;
    let dispatch = &release.description.programs.dispatch;
    let plan = match core.hooks.plan(&folder, dispatch, &observation, timeout).await {
        Ok(plan) => plan,
        Err(error) => {
            problems.insert(format!("{}: {}", unit.id, chain(&error)));
            imagined.local.answered = Some(digest);
            return Ok(false);
        }
    };
    if unit.life == Life::Dying && plan.gone {
        imagined.gone = true;
        return Ok(true);
    }
    let bindings = bind(core, &unit.id, snapshot, &plan, &mut imagined.local, problems);
    let root = files_root(core, &unit.id).display().to_string();
    let candidate = resolve(&plan, unit.release, &digest, bindings, &root)
        .map_err(|e| Problem::internal("cannot preview", &e))?;
    imagine_tasks(snapshot, &unit.id, &candidate);
    publish(core, snapshot, unit, &plan, &candidate.bindings);
    if plan.hold.is_none() {
        let ready = |name| (name, Service { state: ServiceState::Ready, ..Service::default() });
        imagined.services.extend(candidate.runs().into_keys().map(ready));
        become_applied(&mut imagined.local, candidate.clone());
    }
    imagined.local.candidate = Some(candidate);
    imagined.local.plan = Some(plan);
    imagined.local.answered = Some(digest);
    Ok(true)
}

/// A unit's services as it reported them, by the names that they run under.
fn reported(local: &Local, report: &UnitReport) -> BTreeMap<String, Service> {
    let run = |name: &String| local.applied.as_ref().map_or_else(|| name.clone(), |a| a.run_name(name));
    let newest = report.services.iter().map(|(name, service)| (run(name), service.clone()));
    let older = report.generations.iter().flat_map(|generation| {
        let n = generation.n;
        generation.services.iter().map(move |(name, service)| (named(name, n), service.clone()))
    });
    newest.chain(older).collect()
}

/// The plan is applied, and what it starts is ready at once: what is older drains.
fn become_applied(local: &mut Local, to: Applied) {
    local.become_applied(to, 0);
    for frozen in &mut local.generations {
        frozen.draining.get_or_insert(0);
    }
}

/// Bindings without touching anything: ports as preferred, trees by what they would be named after.
fn bind(
    core: &Core,
    unit: &UnitId,
    snapshot: &Snapshot,
    plan: &Plan,
    local: &mut Local,
    problems: &mut BTreeSet<String>,
) -> Bindings {
    let mut trees = BTreeMap::new();
    for (name, tree) in &plan.trees {
        // A derived tree's digest comes from manifests alone; where one is missing the recipe stands for it.
        let plain = tree.drop.is_empty() && tree.take.is_empty();
        let digest = if plain { Ok(tree.base.clone()) } else { core.builds.derived_digest(&recipe(tree)) };
        let digest = digest.unwrap_or_else(|error| {
            problems.insert(format!("{unit}: tree {name}: {}", chain(&error)));
            of_document(tree).unwrap_or_else(|_| Digest::of(b""))
        });
        let path = core.paths.builds.join("trees").join(digest.hex()).display().to_string();
        trees.insert(name.clone(), (digest, path));
    }
    let taken = core.ports_of_others(unit);
    let generation =
        plan.generation.as_ref().map(|of| Numbered { n: local.number(&of.key).0, key: of.key.clone() });
    let n = generation.as_ref().map(|generation| generation.n);
    for (name, port) in &plan.ports {
        let name = &port_name(name, port, n);
        let known = local.ports.get(name).is_some_and(|(_, count)| *count >= port.count);
        if !known {
            let ours = |p: &u16| {
                local
                    .ports
                    .values()
                    .any(|(first, count)| (*first..=first.saturating_add(count - 1)).contains(p))
            };
            let free = |p: &u16| !taken.contains(p) && !ours(p);
            let first = (port.prefer..=u16::MAX).find(free).unwrap_or(port.prefer);
            local.ports.insert(name.clone(), (first, port.count));
        }
    }
    let dirs = plan
        .dirs
        .iter()
        .zip(folders(plan, n))
        .map(|((name, dir), made)| {
            (name.clone(), place(core, unit, &made, dir, &trees).display().to_string())
        })
        .collect();
    let port =
        |(name, port): (&String, &Port)| Some((name.clone(), *local.ports.get(&port_name(name, port, n))?));
    let secret = |(name, wanted): (&String, &stoker_model::plan::Secret)| {
        let own = || {
            let mine = snapshot.secrets.values().find(|s| s.app == unit.app && s.name == *name);
            mine.map_or_else(|| format!("new-{name}"), |s| s.id.clone())
        };
        let id = wanted.from.as_ref().map_or_else(own, |from| from.trim_start_matches("secret:").to_owned());
        (name.clone(), id)
    };
    Bindings {
        trees,
        ports: plan.ports.iter().filter_map(port).collect(),
        dirs,
        secrets: plan.secrets.iter().map(secret).collect(),
        addresses: exposure::addresses(&core.host(), snapshot.apps.get(&unit.app).map(AsRef::as_ref)),
        files: BTreeMap::new(),
        generation,
    }
}

fn imagine_tasks(snapshot: &mut Snapshot, unit: &UnitId, candidate: &Applied) {
    for (name, key) in &candidate.tasks {
        let task: Option<&Task> = candidate.plan.tasks.get(name);
        let owner = task_owner(unit, task.and_then(|task| task.once.as_deref()));
        let at = (owner, name.clone(), key.clone());
        let done = snapshot.tasks.get(&at).is_some_and(|result| result.state == TaskState::Done);
        if !done {
            // Assumed to pass; the last result of the same task, of whatever key, stands for what it would say.
            let last =
                snapshot.tasks.iter().filter(|((o, n, _), _)| *o == at.0 && *n == at.1).map(|(_, r)| r);
            let result = last.map(|r| r.result.clone()).next_back().unwrap_or(Value::Null);
            let passed =
                TaskResult { state: TaskState::Done, exit: Some(0), result, ..TaskResult::default() };
            snapshot.tasks.insert(at, passed.into());
        }
    }
}

fn publish(core: &Core, snapshot: &mut Snapshot, unit: &Unit, plan: &Plan, bindings: &Bindings) {
    let leads = snapshot.leader_of(&unit.id.app).as_ref() == Some(&unit.id);
    let app = snapshot.apps.get(&unit.id.app).map(AsRef::as_ref);
    let address = exposure::address(&core.host(), app);
    let relations: Vec<u64> = snapshot.relations_of(&unit.id.app).map(|relation| relation.id).collect();
    for relation in relations {
        let (app, own) = bags(plan, relation, bindings, &address);
        snapshot.unit_data.insert((relation, unit.id.clone()), own.into());
        if leads {
            snapshot.app_data.insert((relation, unit.id.app.clone()), app.into());
        }
    }
    snapshot.unit_state.insert(unit.id.clone(), plan.state.unit.clone().into());
    if leads {
        snapshot.app_state.insert(unit.id.app.clone(), plan.state.app.clone().into());
    }
}

async fn describe(core: &Core, id: &UnitId, imagined: &Imagined, preview: &mut Preview) {
    let after = imagined.local.applied.as_ref().filter(|_| !imagined.gone);
    let before = imagined.before.applied.as_ref();
    let changes = match after {
        Some(after) => Changes::between(&imagined.before, after),
        None => Changes {
            removed: imagined.before.living().flat_map(|applied| applied.runs().into_keys()).collect(),
            ..Changes::default()
        },
    };
    let running: BTreeSet<String> = core
        .snapshot()
        .reports
        .get(id)
        .map(|r| {
            let runs = |s: &Service| s.state != ServiceState::Stopped;
            let newest = r.services.iter().filter(|(_, s)| runs(s));
            let newest = newest.map(|(n, _)| before.map_or_else(|| n.clone(), |before| before.run_name(n)));
            let older = r
                .generations
                .iter()
                .flat_map(|g| g.services.iter().filter(|(_, s)| runs(s)).map(|(name, _)| named(name, g.n)));
            newest.chain(older).collect()
        })
        .unwrap_or_default();
    let stops: BTreeSet<String> = changes.stops().intersection(&running).cloned().collect();
    preview.restarts += stops.len() as u64;
    if !stops.is_empty() {
        for words in in_words(&ask_busy(core, &imagined.before, &stops).await) {
            preview.touched.push(format!("{id}: {words}"));
        }
    }
    let one_way = after.map(|after| after.plan.one_way.clone()).unwrap_or_default();
    preview.one_way.extend(one_way.into_iter().map(|what| format!("{id}: {what}")));
    let plan = |applied: Option<&Applied>| {
        applied.and_then(|a| serde_json::to_value(&a.plan).ok()).unwrap_or(Value::Null)
    };
    let mut differences = Vec::new();
    differ("", &plan(before), &plan(after), &mut differences);
    let known: BTreeSet<&String> = before.map(|b| b.tasks.values().collect()).unwrap_or_default();
    let tasks = after.map(|a| {
        let idle = |name: &str| a.plan.tasks.get(name).is_some_and(|task| task.idle);
        a.tasks.iter().filter(|(n, key)| !known.contains(key) && !idle(n)).map(|(n, _)| n.clone()).collect()
    });
    let effect = match (before, after) {
        _ if imagined.gone => "remove",
        (None, _) => "add",
        (Some(_), _) if differences.is_empty() => "keep",
        _ => "change",
    };
    let of = |set: &BTreeSet<String>| set.iter().map(|name| split(name).0.to_owned()).collect::<Vec<_>>();
    // Beside what goes on: what starts, or what is there already.
    let beside = !changes.frozen.is_empty();
    let (start, beside): (BTreeSet<String>, BTreeSet<String>) =
        changes.added.iter().cloned().partition(|name| !beside || split(name).1.is_none());
    preview.units.push(UnitPreview {
        unit: id.to_string(),
        effect: effect.into(),
        start: of(&start),
        beside: of(&beside),
        thaw: of(&changes.thawed),
        restart: of(&changes.changed),
        stop: of(&changes.removed),
        tasks: tasks.unwrap_or_default(),
        differences,
        status: imagined
            .local
            .plan
            .as_ref()
            .map(|p| format!("{} {}", p.status.state.word(), p.status.message))
            .unwrap_or_default()
            .trim()
            .to_owned(),
    });
}

/// Differences of two documents, leaf by leaf.
fn differ(at: &str, before: &Value, after: &Value, out: &mut Vec<Difference>) {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                differ(&pointer, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(Difference { at: at.to_owned(), before: a.clone(), after: b.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_leaves() {
        let mut out = Vec::new();
        differ("", &json!({"a": {"b": 1, "c/d": 2}}), &json!({"a": {"b": 1, "c/d": 3}, "e": 4}), &mut out);
        let at: Vec<&str> = out.iter().map(|d| d.at.as_str()).collect();
        assert_eq!(at, ["/a/c~1d", "/e"]);
    }
}
