//! `status` as a document of Juju's shape, with builds beside it.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use stoker_model::ids::UnitId;
use stoker_model::observation::{Generation, Life};
use stoker_model::record::{App, Relation, Unit};
use stoker_model::snapshot::Snapshot;
use stoker_model::status::{State, Status};

use super::{Core, MODEL, now, rfc3339};
use crate::problem::Problem;

/// How a set of ports reads: `8080/tcp`, `9000-9009/tcp`.
pub(crate) fn ports(ports: &stoker_model::resolve::Ports) -> Vec<String> {
    let mut sorted: Vec<(u16, u16)> = ports.values().copied().collect();
    sorted.sort_unstable();
    let show = |(first, count): (u16, u16)| match count {
        1 => format!("{first}/tcp"),
        _ => format!("{first}-{}/tcp", first.saturating_add(count - 1)),
    };
    sorted.into_iter().map(show).collect()
}

fn status(status: &Status, since: u64) -> Value {
    let mut out = json!({"current": status.state.word(), "since": rfc3339(since)});
    for (key, value) in [("message", &status.message), ("code", &status.code), ("fix", &status.fix)] {
        if !value.is_empty() {
            out[key] = json!(value);
        }
    }
    out
}

/// The application's status: what the leader's plan says of it, else the worst of its units'.
fn app_status(snapshot: &Snapshot, app: &str) -> (Status, u64) {
    let leader = snapshot.leader_of(app);
    let said = leader.and_then(|unit| snapshot.reports.get(&unit)?.app_status.clone());
    let mut worst = Status::default();
    let mut since = 0;
    for unit in snapshot.units_of(app) {
        if let Some(report) = snapshot.reports.get(&unit.id) {
            if report.status.state > worst.state {
                worst = report.status.clone();
            }
            since = since.max(report.since);
        }
    }
    match said {
        Some(said) if said.state >= worst.state => (said, since),
        _ => (worst, since),
    }
}

fn unit(snapshot: &Snapshot, unit: &Unit, leader: bool) -> Value {
    let report = snapshot.reports.get(&unit.id).map(AsRef::as_ref).cloned().unwrap_or_default();
    let dying = unit.life == Life::Dying;
    let mut shown = report.status.clone();
    if dying && shown.state < State::Maintenance {
        shown = Status::new(State::Maintenance, "is being removed");
    }
    if report.since == 0 {
        shown = Status::new(State::Waiting, "starting");
    }
    let agent = if report.agent.is_empty() { "allocating" } else { &report.agent };
    let mut out = json!({
        "workload-status": status(&shown, report.since),
        "juju-status": {"current": agent, "since": rfc3339(report.since), "version": env!("CARGO_PKG_VERSION")},
        "machine": unit.host,
        "public-address": report.address,
        "open-ports": ports(&report.ports),
        "workload-version": report.version,
        "release": report.release,
    });
    if leader {
        out["leader"] = json!(true);
    }
    if !report.generations.is_empty() {
        let one = |of: &Generation| json!({"n": of.n, "key": of.key, "release": of.release, "draining": of.draining});
        out["generations"] = report.generations.iter().map(one).collect();
    }
    if let Some(deferred) = report.deferred {
        out["deferred"] = json!(deferred);
    }
    out
}

fn endpoints(snapshot: &Snapshot, app: &str) -> Value {
    let mut out: Map<String, Value> = Map::new();
    for relation in snapshot.relations_of(app) {
        if let Some((ours, theirs)) = relation.seen_by(app) {
            let entry = json!({"related-application": theirs.app, "interface": relation.interface, "scope": "global"});
            let list = out.entry(ours.endpoint.clone()).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(entry);
            }
        }
    }
    Value::Object(out)
}

fn integration(relation: &Relation) -> Value {
    use stoker_model::charm::Role;
    let name = |wanted: &[Role]| {
        let end = relation.ends.iter().find(|end| wanted.contains(&end.role)).or(relation.ends.first());
        end.map(|end| format!("{}:{}", end.app, end.endpoint)).unwrap_or_default()
    };
    json!({
        "id": relation.id,
        "provider": name(&[Role::Provides, Role::Peer]),
        "requirer": name(&[Role::Requires, Role::Peer]),
        "interface": relation.interface,
        "type": if relation.is_peer() { "peer" } else { "regular" },
        "message": "",
    })
}

/// Networks that may reach the services; null where that is not told by `exposed` alone.
fn exposed_to(app: &App) -> Option<&Vec<String>> {
    app.exposed.as_ref().map(|exposure| &exposure.to).filter(|to| !to.is_empty())
}

/// Whether an application is asked for: by its name, a unit's, or none at all.
fn wanted(filter: &[String], app: &str) -> bool {
    filter.is_empty() || filter.iter().any(|f| f == app || f.split('/').next() == Some(app))
}

/// A rollout that goes on, or that was given up and is not followed by another yet.
fn rollout(snapshot: &Snapshot, app: &App) -> Option<Value> {
    let rollout = app.rollout.as_ref()?;
    let (mut units, mut moved) = (0, 0);
    for unit in snapshot.units_of(&app.name) {
        units += 1;
        moved += u32::from(unit.release == rollout.to && !rollout.moving.contains_key(&unit.id));
    }
    let mut said: Vec<String> = Vec::new();
    if rollout.paused && !rollout.done {
        said.push("paused".to_owned());
    }
    said.extend(
        rollout.why.as_ref().map(|why| format!("release {} was given up: {}", why.release, why.says)),
    );
    for id in rollout.moving.keys() {
        let report = snapshot.reports.get(id);
        let waits = report.and_then(|report| report.deferred.clone()).map(|what| format!("waits for {what}"));
        let stands = report.map(|report| report.status.state.word().to_owned()).unwrap_or_default();
        said.push(format!("{id} {}", waits.unwrap_or(stands)));
    }
    Some(json!({
        "application": app.name, "release": rollout.to, "from": rollout.from, "moved": moved, "units": units,
        "paused": rollout.paused, "back": rollout.back, "done": rollout.done, "message": said.join("; "),
    }))
}

impl Core {
    /// The model with nothing in it that an earlier agent said and this one has not seen yet.
    fn looked_at(&self) -> Arc<Snapshot> {
        let mut snapshot = self.snapshot();
        let unseen: Vec<UnitId> =
            snapshot.reports.keys().filter(|unit| self.seen.of(unit).is_none()).cloned().collect();
        for unit in unseen {
            if let Some(report) = Arc::make_mut(&mut snapshot).reports.get_mut(&unit) {
                Arc::make_mut(report).status =
                    Status::new(State::Waiting, "not looked at since the agent's start");
            }
        }
        snapshot
    }

    /// The status document.
    pub(crate) fn status(&self, model: &str, filter: &[String]) -> Result<Value, Problem> {
        Self::check_model(model)?;
        let snapshot = self.looked_at();
        let host = self.host();
        let mut applications = Map::new();
        let mut builds = Vec::new();
        for (name, app) in snapshot.apps.iter().filter(|(name, _)| wanted(filter, name)) {
            let Some(release) = snapshot.newest_release(name) else { continue };
            let leader = snapshot.leader_of(name);
            let (shown, since) = app_status(&snapshot, name);
            let mut units = Map::new();
            let mut version = String::new();
            for record in snapshot.units_of(name) {
                let leads = leader.as_ref() == Some(&record.id);
                units.insert(record.id.to_string(), unit(&snapshot, record, leads));
                if let Some(report) = snapshot.reports.get(&record.id).filter(|r| !r.version.is_empty()) {
                    version.clone_from(&report.version);
                }
            }
            let verdicts =
                leader.as_ref().and_then(|unit| snapshot.reports.get(unit)).map(|r| r.verdicts.clone());
            for (resource, revision) in &release.resources {
                let Some(record) = snapshot.revisions.get(&(name.clone(), resource.clone(), *revision))
                else {
                    continue;
                };
                let verdict = verdicts.iter().flatten().find(|verdict| verdict.subject == *resource);
                builds.push(json!({
                    "application": name, "resource": resource, "revision": revision,
                    "product": record.facts.product, "version": record.facts.version,
                    "digest": record.build, "source": record.source, "bytes": record.bytes,
                    "verdict": verdict.map(|v| v.level.clone()), "says": verdict.map(|v| v.says.clone()),
                }));
            }
            applications.insert(
                name.clone(),
                json!({
                    "charm": release.charm_name, "charm-name": release.charm_name, "charm-origin": "local",
                    "charm-rev": release.n, "charm-digest": release.charm, "exposed": app.exposed.is_some(), "exposed-to": exposed_to(app),
                    "base": {"name": "linux", "channel": host.arch},
                    "life": app.life, "release": app.release,
                    "application-status": status(&shown, since),
                    "relations": endpoints(&snapshot, name), "units": units, "version": version,
                }),
            );
        }
        let rollouts: Vec<Value> = snapshot
            .apps
            .values()
            .filter(|app| wanted(filter, &app.name))
            .filter_map(|app| rollout(&snapshot, app))
            .collect();
        let relations: Vec<Value> = snapshot
            .relations
            .values()
            .filter(|relation| relation.ends.iter().any(|end| wanted(filter, &end.app)))
            .map(|relation| integration(relation))
            .collect();
        let address = host.addresses.get("default").cloned().unwrap_or_default();
        let machine = json!({
            "juju-status": {"current": "started"}, "hostname": host.name, "dns-name": address,
            "ip-addresses": [address], "instance-id": host.name,
            "machine-status": {"current": "running"},
            "base": {"name": "linux", "channel": host.arch},
            "hardware": format!("arch={} cores={} mem={}M", host.arch, host.cores, host.memory >> 20),
        });
        let mut machines = Map::new();
        machines.insert(host.name.clone(), machine);
        Ok(json!({
            "model": {"name": MODEL, "type": "iaas", "controller": host.name, "cloud": "local",
                "version": env!("CARGO_PKG_VERSION"), "model-status": {"current": "available"}},
            "machines": machines, "applications": applications, "integrations": relations,
            "builds": builds, "rollouts": rollouts, "controller": {"timestamp": rfc3339(now())},
        }))
    }
}
