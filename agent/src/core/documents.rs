//! Documents about applications, units, resources, releases and actions: the records, as the API shows them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stoker_host::services::killed_for_memory;
use stoker_model::ids::UnitId;
use stoker_model::observe::task_result;
use stoker_model::record::{Action, ActionState, Release, Unit};
use stoker_model::snapshot::Snapshot;

use super::lookup::{find_app, find_unit_or_leader};
use super::{Core, rfc3339};
use crate::api::types::{ActionDoc, Kept, OptionDoc, ReleaseDoc, ResourceDoc, RevisionDoc, UnitDoc, Version};
use crate::problem::{Problem, codes};

/// What differs from one release to the next, a line each.
fn difference(before: Option<&Release>, release: &Release) -> Vec<String> {
    let Some(before) = before else { return vec!["deployed".into()] };
    let mut lines = Vec::new();
    if before.charm != release.charm {
        lines.push(format!("charm {} → {}", before.charm.short(), release.charm.short()));
    }
    let pairs = |a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>| -> Vec<String> {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        let show = |v: Option<&Value>| v.map_or_else(|| "default".to_owned(), ToString::to_string);
        let differs = keys.into_iter().filter(|key| a.get(*key) != b.get(*key));
        differs.map(|key| format!("{key} {} → {}", show(a.get(key)), show(b.get(key)))).collect()
    };
    lines.extend(pairs(&before.config, &release.config));
    let numbers = |r: &Release| -> BTreeMap<String, Value> {
        r.resources.iter().map(|(name, n)| (name.clone(), json!(n))).collect()
    };
    lines.extend(
        pairs(&numbers(before), &numbers(release)).into_iter().map(|line| format!("resource {line}")),
    );
    lines.extend(release.pins.difference(&before.pins).map(|name| format!("resource {name} pinned")));
    lines.extend(
        before.pins.difference(&release.pins).map(|name| format!("resource {name} no longer pinned")),
    );
    lines
}

impl Core {
    /// Releases, newest first.
    pub(crate) fn releases(&self, model: &str, app: &str) -> Result<Vec<ReleaseDoc>, Problem> {
        Self::check_model(model)?;
        let snapshot = self.snapshot();
        find_app(&snapshot, app, "show the releases of")?;
        let all: Vec<&Arc<Release>> = snapshot
            .releases
            .range((app.to_owned(), 0)..=(app.to_owned(), u64::MAX))
            .map(|(_, r)| r)
            .collect();
        let mut documents = Vec::new();
        for (i, release) in all.iter().enumerate() {
            let version = |(name, n): (&String, &u64)| {
                let record = snapshot.revisions.get(&(app.to_owned(), name.clone(), *n));
                let version = record.map(|r| r.facts.version.clone()).unwrap_or_default();
                let pinned = if release.pins.contains(name) { ", pinned" } else { "" };
                (name.clone(), format!("{n} ({version}){pinned}"))
            };
            let before = i.checked_sub(1).map(|at| all[at].as_ref());
            let at = |unit: &&UnitId| {
                unit.app == app
                    && snapshot.reports.get(*unit).is_some_and(|report| report.release == release.n)
            };
            documents.push(ReleaseDoc {
                release: release.n,
                time: rfc3339(release.time),
                by: release.by.clone(),
                command: release.command.clone(),
                charm: release.charm.to_string(),
                resources: release.resources.iter().map(version).collect(),
                config: release.config.clone(),
                difference: difference(before, release),
                units: snapshot.units.keys().filter(at).map(ToString::to_string).collect(),
            });
        }
        documents.reverse();
        Ok(documents)
    }

    /// Resources with their revisions.
    pub(crate) fn resources(&self, model: &str, app: &str) -> Result<Vec<ResourceDoc>, Problem> {
        Self::check_model(model)?;
        let snapshot = self.snapshot();
        find_app(&snapshot, app, "show the resources of")?;
        let Some(release) = snapshot.newest_release(app).cloned() else { return Ok(Vec::new()) };
        let mut documents = Vec::new();
        for (name, resource) in &release.description.resources {
            let range = (app.to_owned(), name.clone(), 0)..=(app.to_owned(), name.clone(), u64::MAX);
            let revision = |record: &Arc<stoker_model::record::Revision>| RevisionDoc {
                revision: record.revision,
                build: record.build.to_string(),
                source: record.source.clone(),
                time: rfc3339(record.time),
                files: record.files,
                bytes: record.bytes,
                facts: serde_json::to_value(&record.facts).unwrap_or_default(),
            };
            let mut revisions: Vec<RevisionDoc> =
                snapshot.revisions.range(range).map(|(_, record)| revision(record)).collect();
            revisions.reverse();
            let current = release.resources.get(name).copied().unwrap_or_default();
            let uses = |unit: &Arc<Unit>| {
                let applied = snapshot.reports.get(&unit.id)?.release;
                let revision =
                    snapshot.releases.get(&(app.to_owned(), applied))?.resources.get(name).copied()?;
                Some((unit.id.to_string(), revision))
            };
            let version = revisions.iter().find(|r| r.revision == current);
            documents.push(ResourceDoc {
                name: name.clone(),
                product: resource.product.clone(),
                required: resource.required,
                summary: resource.summary.clone(),
                revision: current,
                pinned: release.pins.contains(name),
                version: version
                    .and_then(|r| Some(r.facts.get("version")?.as_str()?.to_owned()))
                    .unwrap_or_default(),
                revisions,
                units: snapshot.units_of(app).filter_map(uses).collect(),
            });
        }
        Ok(documents)
    }

    /// Options with their values.
    pub(crate) fn config(&self, model: &str, app: &str) -> Result<Vec<OptionDoc>, Problem> {
        Self::check_model(model)?;
        let snapshot = self.snapshot();
        find_app(&snapshot, app, "show the configuration of")?;
        let Some(release) = snapshot.newest_release(app) else { return Ok(Vec::new()) };
        let document = |(name, option): (&String, &stoker_model::charm::Opt)| {
            let default = option.default.clone().unwrap_or_default();
            let set = release.config.get(name);
            OptionDoc {
                name: name.clone(),
                kind: option.kind.word().into(),
                value: set.cloned().unwrap_or_else(|| default.clone()),
                default,
                source: if set.is_some() { "user" } else { "default" }.into(),
                description: option.summary.clone(),
            }
        };
        Ok(release.description.config.iter().map(document).collect())
    }

    /// Actions that the charm knows.
    pub(crate) fn actions_of(&self, model: &str, app: &str) -> Result<Value, Problem> {
        Self::check_model(model)?;
        let snapshot = self.snapshot();
        find_app(&snapshot, app, "show the actions of")?;
        let Some(release) = snapshot.newest_release(app) else { return Ok(json!({})) };
        serde_json::to_value(&release.description.actions)
            .map_err(|e| Problem::internal("cannot show actions", &e))
    }

    /// An action that was asked for; with `wait`, once it has ended or the time is over.
    pub(crate) async fn action(
        &self,
        model: &str,
        id: u64,
        wait: Option<Duration>,
    ) -> Result<ActionDoc, Problem> {
        Self::check_model(model)?;
        let deadline = wait.map(|wait| tokio::time::Instant::now() + wait);
        let mut follow = self.follow();
        loop {
            follow.mark_unchanged();
            let Some(action) = self.snapshot().actions.get(&id).cloned() else {
                let title = format!("cannot show action {id}: there is no such action");
                return Err(Problem::new(codes::NOT_FOUND, title));
            };
            let open = matches!(action.state, ActionState::Pending | ActionState::Running);
            let Some(deadline) = deadline.filter(|_| open) else { return Ok(action_document(&action)) };
            tokio::select! {
                _ = follow.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(action_document(&action)),
            }
        }
    }

    /// A unit in full.
    pub(crate) async fn unit(&self, model: &str, text: &str) -> Result<UnitDoc, Problem> {
        Self::check_model(model)?;
        let snapshot = self.snapshot();
        let unit = find_unit_or_leader(&snapshot, text, "show")?.clone();
        let report = snapshot.reports.get(&unit.id).map(AsRef::as_ref).cloned().unwrap_or_default();
        let mut services = BTreeMap::new();
        let local = self.local(&unit.id)?;
        let applied = local.as_ref().and_then(|local| local.applied.as_ref());
        for (name, service) in &report.services {
            let run = applied.map_or_else(|| name.clone(), |applied| applied.run_name(name));
            let full = crate::unit::service_name(&unit.id, &run);
            let observed = self.supervisor.observe(&full).await.ok();
            services.insert(
                name.clone(),
                json!({
                    "state": service.state, "reason": service.reason,
                    "pid": observed.as_ref().and_then(|o| o.pid),
                    "restarts": observed.as_ref().map(|o| o.restarts),
                    "started": observed.as_ref().and_then(|o| o.started_ms).map(rfc3339),
                    "killed-for-memory": observed.as_ref().and_then(|o| o.memory_events.as_deref()).map(killed_for_memory),
                    "unenforced": observed.map(|o| o.unenforced).unwrap_or_default(),
                }),
            );
        }
        // Results stay by key for going back: shown are those of the newest plan's keys alone.
        let newest = local.and_then(|local| local.candidate.or(local.applied));
        let tasks = newest.iter().flat_map(|newest| {
            newest.tasks.iter().map(|(name, key)| {
                let once = newest.plan.tasks.get(name).and_then(|task| task.once.as_deref());
                let result = task_result(&snapshot, &unit.id, name, once, key).cloned().unwrap_or_default();
                let shown = json!({"key": key, "state": result.state, "exit": result.exit,
                    "result": result.result, "reason": result.reason, "runs": result.runs});
                (name.clone(), shown)
            })
        });
        Ok(UnitDoc {
            unit: unit.id.to_string(),
            charm: snapshot.release_of(&unit).map(|r| r.charm.to_string()).unwrap_or_default(),
            leader: snapshot.leader_of(&unit.id.app).as_ref() == Some(&unit.id),
            machine: unit.host.clone(),
            public_address: report.address.clone(),
            opened_ports: super::status::ports(&report.ports),
            workload_version: report.version.clone(),
            status: json!({"current": report.status.state.word(), "message": report.status.message,
                "code": report.status.code, "fix": report.status.fix, "since": rfc3339(report.since)}),
            release: [("applied".to_owned(), report.release), ("wanted".to_owned(), unit.release)].into(),
            services,
            generations: report.generations.iter().filter_map(|of| serde_json::to_value(of).ok()).collect(),
            tasks: tasks.collect(),
            trees: report.trees.iter().map(|(name, digest)| (name.clone(), digest.to_string())).collect(),
            verdicts: report.verdicts.iter().filter_map(|v| serde_json::to_value(v).ok()).collect(),
            state: json!({"unit": snapshot.unit_state.get(&unit.id).map(AsRef::as_ref),
                "app": snapshot.app_state.get(&unit.id.app).map(AsRef::as_ref)}),
            relation_info: relation_info(&snapshot, &unit.id),
        })
    }

    /// The newest plan of a unit, as this host has it.
    pub(crate) fn plan(&self, model: &str, text: &str) -> Result<Value, Problem> {
        Self::check_model(model)?;
        let unit = find_unit_or_leader(&self.snapshot(), text, "show the plan of")?.clone();
        let local = self.local(&unit.id)?;
        let Some(plan) = local.as_ref().and_then(|local| local.plan.as_ref()) else {
            let title = format!("cannot show the plan of {}: there is none yet", unit.id);
            return Err(Problem::new(codes::NOT_FOUND, title).fix(format!("stoker why {}", unit.id)));
        };
        serde_json::to_value(plan).map_err(|e| Problem::internal("cannot show the plan", &e))
    }

    /// What this host's journal knows of a unit.
    pub(crate) fn local(&self, unit: &UnitId) -> Result<Option<stoker_model::local::Local>, Problem> {
        let key = format!("unit/{}/{}", super::MODEL, unit.dashed());
        let bytes = self.journal.get(&key).map_err(|e| Problem::internal("cannot read the journal", &e))?;
        let read = |bytes: Vec<u8>| stoker_model::local::Local::read(unit, &bytes);
        bytes.map(read).transpose().map_err(|e| Problem::internal("cannot read the journal", &e))
    }

    /// Kept data of removed units.
    pub(crate) async fn kept(&self, model: &str) -> Result<Vec<Kept>, Problem> {
        Self::check_model(model)?;
        let folder = self.paths.kept.clone();
        let list = move || {
            let describe = |(id, meta, path): (String, crate::unit::KeptMeta, std::path::PathBuf)| {
                let data = path.join("data");
                let mut dirs: Vec<String> = std::fs::read_dir(&data)
                    .map(|entries| entries.flatten().map(|e| e.path().display().to_string()).collect())
                    .unwrap_or_default();
                dirs.sort();
                dirs.extend(meta.elsewhere);
                let bytes = size_of(&data);
                Kept {
                    id,
                    unit: meta.unit.to_string(),
                    charm: meta.charm,
                    removed: rfc3339(meta.removed),
                    dirs,
                    bytes,
                }
            };
            crate::unit::kept(&folder).into_iter().map(describe).collect()
        };
        tokio::task::spawn_blocking(list).await.map_err(|e| Problem::internal("cannot list kept data", &e))
    }

    /// The agent.
    pub(crate) fn version(&self) -> Version {
        Version {
            version: env!("CARGO_PKG_VERSION").into(),
            api: "v1".into(),
            pid: std::process::id(),
            dir: self.paths.root.display().to_string(),
            store: "embedded".into(),
        }
    }
}

/// Bytes of all files below a folder; links are not followed, what cannot be read counts nothing.
fn size_of(folder: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

fn action_document(action: &Action) -> ActionDoc {
    let mut timing: BTreeMap<String, String> = [("enqueued".to_owned(), rfc3339(action.enqueued))].into();
    for (name, at) in [("started", action.started), ("completed", action.completed)] {
        if let Some(at) = at {
            timing.insert(name.into(), rfc3339(at));
        }
    }
    let status = match action.state {
        ActionState::Pending => "pending",
        ActionState::Running => "running",
        ActionState::Completed => "completed",
        ActionState::Failed => "failed",
    };
    ActionDoc {
        id: action.id,
        unit: action.unit.to_string(),
        action: action.name.clone(),
        status: status.into(),
        exit: action.exit,
        results: action.result.clone(),
        message: action.message.clone(),
        output: action.output.clone(),
        timing,
    }
}

fn relation_info(snapshot: &Snapshot, unit: &UnitId) -> Vec<Value> {
    let mut out = Vec::new();
    for relation in snapshot.relations_of(&unit.app) {
        let Some((ours, theirs)) = relation.seen_by(&unit.app) else { continue };
        let bag = |id: &UnitId| snapshot.unit_data.get(&(relation.id, id.clone())).map(AsRef::as_ref);
        let related: serde_json::Map<String, Value> = snapshot
            .units_of(&theirs.app)
            .filter(|other| other.id != *unit)
            .filter_map(|other| {
                Some((other.id.to_string(), json!({"in-scope": true, "data": bag(&other.id)?})))
            })
            .collect();
        out.push(json!({
            "relation-id": relation.id, "endpoint": ours.endpoint, "related-endpoint": theirs.endpoint,
            "related-application": theirs.app,
            "application-data": snapshot.app_data.get(&(relation.id, theirs.app.clone())).map(AsRef::as_ref),
            "own-application-data": snapshot.app_data.get(&(relation.id, ours.app.clone())).map(AsRef::as_ref),
            "local-unit": {"in-scope": true, "data": bag(unit)},
            "related-units": related,
        }));
    }
    out
}
