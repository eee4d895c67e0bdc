//! From a plan to what is applied: placeholders resolved, files named by content, every service and task with the
//! digest of its declared inputs. Owns when a service changes; must not touch a file or know a secret's value.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::digest::{NotCanonical, of_document};
use crate::generation::{Numbered, freezes, named};
use crate::ids::Digest;
use crate::local::Local;
use crate::placeholder::{Kind, fill};
use crate::plan::{Plan, Task};

/// Ports by the plan's name: the first and how many.
pub type Ports = BTreeMap<String, (u16, u16)>;

/// What the placeholders of a plan stand for on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bindings {
    /// Trees: digest and path.
    pub trees: BTreeMap<String, (Digest, String)>,
    /// Ports.
    pub ports: Ports,
    /// Folders' paths.
    pub dirs: BTreeMap<String, String>,
    /// Secrets' ids (without `secret:`).
    pub secrets: BTreeMap<String, String>,
    /// Addresses by binding.
    pub addresses: BTreeMap<String, String>,
    /// Files and folders of files: their paths.
    pub files: BTreeMap<String, String>,
    /// The generation whose ports and folders these are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Numbered>,
}

/// A file as it will be on disk but for secrets, which stay placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendered {
    /// The text; `${secret:N}` in it is resolved when it is written.
    pub text: String,
    /// Octal mode.
    pub mode: u32,
    /// The charm's user that reads it.
    pub user: Option<String>,
    /// Holds a secret.
    pub secret: bool,
}

/// A file or a folder of files, named by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Where it is.
    pub path: String,
    /// Replaced in place.
    pub live: bool,
    /// Files by path within; the empty path is the file itself.
    pub files: BTreeMap<String, Rendered>,
    /// The digest of all that.
    pub digest: Digest,
}

/// A plan as resolved on this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The plan.
    pub plan: Plan,
    /// The release it was made for.
    pub release: u64,
    /// The digest of the observation it answers.
    pub answers: Digest,
    /// What its placeholders stand for.
    pub bindings: Bindings,
    /// Files by their first path component.
    pub groups: BTreeMap<String, Group>,
    /// The digest of each service's declared inputs.
    pub services: BTreeMap<String, Digest>,
    /// The key of each task.
    pub tasks: BTreeMap<String, String>,
}

impl Applied {
    /// Whether it differs from what is applied only in the release and the observation that it answers.
    pub fn alters_nothing(&self, applied: &Self) -> bool {
        self.plan == applied.plan
            && self.services == applied.services
            && self.tasks == applied.tasks
            && self.groups == applied.groups
            && self.bindings == applied.bindings
    }

    /// The name that a service of the plan runs under.
    pub fn run_name(&self, service: &str) -> String {
        let of_it = self.plan.services.get(service).is_some_and(|service| service.generation);
        match &self.bindings.generation {
            Some(generation) if of_it => named(service, generation.n),
            _ => service.to_owned(),
        }
    }

    /// Each service's digest by the name that it runs under.
    pub fn runs(&self) -> BTreeMap<String, &Digest> {
        self.services.iter().map(|(name, digest)| (self.run_name(name), digest)).collect()
    }
}

/// A plan cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Files name each other in a circle.
    #[error("cannot resolve the plan: files name each other in a circle at `{0}`")]
    Circle(String),
    /// Not expressible as canonical JSON.
    #[error("cannot resolve the plan")]
    Document(#[from] NotCanonical),
    /// A mode that the plan's check should have refused.
    #[error("cannot resolve the plan: mode `{0}`")]
    Mode(String),
}

/// What a placeholder stands for, but for secrets and files.
fn simple(bindings: &Bindings, kind: Kind, name: &str) -> Option<String> {
    Some(match kind {
        Kind::Tree => bindings.trees.get(name)?.1.clone(),
        Kind::Port => bindings.ports.get(name)?.0.to_string(),
        Kind::Dir => bindings.dirs.get(name)?.clone(),
        Kind::Address => bindings
            .addresses
            .get(name)
            .or_else(|| bindings.addresses.get("default"))
            .cloned()
            .unwrap_or_default(),
        Kind::File => bindings.files.get(name)?.clone(),
        Kind::Secret => return None,
    })
}

impl Bindings {
    /// The text with everything but secrets resolved; those stay as they are.
    pub fn fill(&self, text: &str) -> String {
        fill::<Infallible>(text, |kind, name| {
            Ok(simple(self, kind, name).unwrap_or_else(|| format!("${{{kind}:{name}}}")))
        })
        .unwrap_or_default()
    }

    /// The text with everything resolved; a secret's value comes from `secret`.
    pub fn fill_with<E>(
        &self,
        text: &str,
        mut secret: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<String, E> {
        fill(text, |kind, name| match (kind, simple(self, kind, name)) {
            (Kind::Secret, _) => secret(name),
            (_, Some(value)) => Ok(value),
            (kind, None) => Ok(format!("${{{kind}:{name}}}")),
        })
    }

    /// The text for relation data: a tree is its digest there.
    pub fn publish(&self, text: &str) -> String {
        fill::<Infallible>(text, |kind, name| {
            Ok(match kind {
                Kind::Tree => self.trees.get(name).map(|(digest, _)| digest.to_string()).unwrap_or_default(),
                _ => simple(self, kind, name).unwrap_or_default(),
            })
        })
        .unwrap_or_default()
    }

    fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(items) => items.iter().map(|item| self.fill_value(item)).collect(),
            Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), self.fill_value(v))).collect(),
            other => other.clone(),
        }
    }
}

fn group_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

struct Resolver<'a> {
    plan: &'a Plan,
    root: &'a str,
    bindings: Bindings,
    groups: BTreeMap<String, Group>,
}

impl Resolver<'_> {
    /// Renders the group and, before it, all groups that it names.
    fn group(&mut self, name: &str, within: &mut Vec<String>) -> Result<(), ResolveError> {
        if self.groups.contains_key(name) {
            return Ok(());
        }
        if within.iter().any(|outer| outer == name) {
            return Err(ResolveError::Circle(name.to_owned()));
        }
        within.push(name.to_owned());
        let members: Vec<(&String, &crate::plan::File)> =
            self.plan.files.iter().filter(|(file, _)| group_of(file) == name).collect();
        for (_, file) in &members {
            for (kind, other) in crate::placeholder::holes(&file.text) {
                if kind == Kind::File && group_of(other) != name {
                    self.group(group_of(other), within)?;
                }
            }
        }
        let live = members.iter().any(|(_, file)| file.live);
        let user = |file: &crate::plan::File| file.user.clone().or_else(|| self.reader(name));
        let mut files = BTreeMap::new();
        let mut secrets = BTreeSet::new();
        for (path, file) in members {
            let within_group = path.strip_prefix(name).unwrap_or("").trim_start_matches('/');
            let named: Vec<String> = crate::placeholder::holes(&file.text)
                .filter(|(kind, _)| *kind == Kind::Secret)
                .map(|(_, secret)| self.bindings.secrets.get(secret).cloned().unwrap_or_default())
                .collect();
            let default = if named.is_empty() { "0644" } else { "0600" };
            let mode = file.mode.as_deref().unwrap_or(default);
            let mut mode = u32::from_str_radix(mode, 8).map_err(|_| ResolveError::Mode(mode.to_owned()))?;
            if !named.is_empty() {
                mode = 0o600;
            }
            let rendered = Rendered {
                text: self.bindings.fill(&file.text),
                mode,
                user: user(file),
                secret: !named.is_empty(),
            };
            secrets.extend(named);
            files.insert(within_group.to_owned(), rendered);
        }
        let digest = of_document(&json!({"files": files, "secrets": secrets}))?;
        let path = if live {
            format!("{}/live/{name}", self.root)
        } else {
            format!("{}/{}/{name}", self.root, &digest.hex()[..16])
        };
        self.bindings.files.insert(name.to_owned(), path.clone());
        for inner in files.keys().filter(|inner| !inner.is_empty()) {
            self.bindings.files.insert(format!("{name}/{inner}"), format!("{path}/{inner}"));
        }
        self.groups.insert(name.to_owned(), Group { path, live, files, digest });
        within.pop();
        Ok(())
    }

    /// The user of the services, else the tasks, that name this group of files: the first that has one.
    fn reader(&self, group: &str) -> Option<String> {
        let names = |files: &[String], follows: &[String]| {
            files.iter().any(|f| group_of(f) == group)
                || follows.iter().any(|f| f.strip_prefix("file:").is_some_and(|f| group_of(f) == group))
        };
        let services = self.plan.services.values().filter(|s| names(&s.files, &s.follows)).map(|s| &s.user);
        let tasks = self.plan.tasks.values().filter(|t| names(&t.files, &[])).map(|t| &t.user);
        services.chain(tasks).flatten().next().cloned()
    }

    fn inputs(&self, trees: &[String], files: &[String]) -> Value {
        let trees: BTreeMap<&String, Option<&Digest>> =
            trees.iter().map(|t| (t, self.bindings.trees.get(t).map(|(digest, _)| digest))).collect();
        let files: BTreeMap<&str, Option<&Digest>> = files
            .iter()
            .map(|f| group_of(f))
            // A live file restarts nothing.
            .map(|g| (g, self.groups.get(g).filter(|group| !group.live).map(|group| &group.digest)))
            .collect();
        json!({"trees": trees, "files": files})
    }
}

/// Resolves a plan. `bindings` has everything but files; `root` is the folder that rendered files go to.
pub fn resolve(
    plan: &Plan,
    release: u64,
    answers: &Digest,
    bindings: Bindings,
    root: &str,
) -> Result<Applied, ResolveError> {
    let mut resolver = Resolver { plan, root, bindings, groups: BTreeMap::new() };
    for file in plan.files.keys() {
        resolver.group(group_of(file), &mut Vec::new())?;
    }
    let mut services = BTreeMap::new();
    for (name, service) in &plan.services {
        // What is only followed is visible to the service but no part of its digest: where it is, is left out.
        let followed: BTreeSet<&str> = service.follows.iter().map(String::as_str).collect();
        let mut seen = resolver.bindings.clone();
        seen.trees.iter_mut().filter(|(n, _)| followed.contains(format!("tree:{n}").as_str())).for_each(
            |(_, t)| {
                t.1.clear();
            },
        );
        seen.files
            .iter_mut()
            .filter(|(n, _)| followed.contains(format!("file:{}", group_of(n)).as_str()))
            .for_each(|(_, path)| path.clear());
        let mut spec = serde_json::to_value(service).map_err(NotCanonical::from)?;
        // How it is asked and when it is waited for is not what it is.
        if let Some(map) = spec.as_object_mut() {
            for key in ["ready", "live", "busy", "needs", "follows"] {
                map.remove(key);
            }
        }
        let document = json!({
            "spec": seen.fill_value(&spec),
            "inputs": resolver.inputs(&service.trees, &service.files),
            "secrets": secrets_in(&spec, &resolver.bindings),
        });
        services.insert(name.clone(), of_document(&document)?);
    }
    let mut tasks = BTreeMap::new();
    for (name, task) in &plan.tasks {
        tasks.insert(name.clone(), task_key(&resolver, task)?);
    }
    let Resolver { bindings, groups, .. } = resolver;
    Ok(Applied { plan: plan.clone(), release, answers: answers.clone(), bindings, groups, services, tasks })
}

fn secrets_in(spec: &Value, bindings: &Bindings) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    crate::plan::strings_of(spec, &mut |text| {
        for (kind, name) in crate::placeholder::holes(text) {
            if kind == Kind::Secret {
                out.insert(bindings.secrets.get(name).cloned().unwrap_or_default());
            }
        }
    });
    out
}

/// The key that a task runs once for. With `once = "app"` host placeholders stay unresolved, so that all units
/// of the application agree on it.
fn task_key(resolver: &Resolver<'_>, task: &Task) -> Result<String, ResolveError> {
    if let Some(key) = &task.key {
        return Ok(of_document(&json!(key))?.hex()[..32].to_owned());
    }
    let mut spec = serde_json::to_value(task).map_err(NotCanonical::from)?;
    if let Some(map) = spec.as_object_mut() {
        for key in ["needs", "retry", "timeout", "every"] {
            map.remove(key);
        }
    }
    let shared = task.once.as_deref() == Some("app");
    let spec = if shared { spec } else { resolver.bindings.fill_value(&spec) };
    let trees: BTreeMap<&String, Option<&Digest>> =
        task.trees.iter().map(|t| (t, resolver.bindings.trees.get(t).map(|(digest, _)| digest))).collect();
    let files: Value = if shared {
        task.files
            .iter()
            .flat_map(|f| resolver.plan.files.iter().filter(move |(name, _)| group_of(name) == group_of(f)))
            .map(|(name, file)| json!([name, file.text]))
            .collect()
    } else {
        resolver.inputs(&[], &task.files)
    };
    Ok(of_document(&json!({"spec": spec, "trees": trees, "files": files}))?.hex()[..32].to_owned())
}

/// What a move to another plan does to services, by the names that they run under.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Gone in the new plan.
    pub removed: BTreeSet<String>,
    /// In both, with other inputs.
    pub changed: BTreeSet<String>,
    /// Only in the new plan.
    pub added: BTreeSet<String>,
    /// Of the generation before: they go on beside the new plan's.
    pub frozen: BTreeSet<String>,
    /// Of a generation that was frozen: they go on as the new plan's.
    pub thawed: BTreeSet<String>,
}

impl Changes {
    /// From what is applied and frozen to `new`.
    pub fn between(local: &Local, new: &Applied) -> Self {
        let old = local.applied.as_ref();
        let mut before = old.map(Applied::runs).unwrap_or_default();
        let after = new.runs();
        let mut changes = Self::default();
        if old.is_some_and(|old| freezes(old, new)) {
            let of_it = |name: &&String| old.is_some_and(|old| !old.services.contains_key(*name));
            changes.frozen = before.keys().filter(of_it).cloned().collect();
            before.retain(|name, _| !changes.frozen.contains(name));
        }
        let same = |n: u64| new.bindings.generation.as_ref().is_some_and(|next| next.n == n);
        for frozen in local.generations.iter().filter(|frozen| same(frozen.generation.n)) {
            let runs = frozen.applied.runs();
            changes
                .thawed
                .extend(runs.iter().filter(|(name, d)| after.get(*name) == Some(*d)).map(|(n, _)| n.clone()));
            before.extend(runs);
        }
        changes.removed = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
        let differs = |(name, digest): &(&String, &&Digest)| after.get(*name).is_some_and(|d| d != *digest);
        changes.changed = before.iter().filter(differs).map(|(name, _)| name.clone()).collect();
        changes.added = after.keys().filter(|name| !before.contains_key(*name)).cloned().collect();
        changes
    }

    /// Services that a move would stop.
    pub fn stops(&self) -> BTreeSet<String> {
        self.removed.union(&self.changed).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    fn applied(plan: &Value, port: u16) -> Applied {
        let plan: Plan = from_value(plan.clone()).unwrap();
        let bindings = Bindings {
            ports: [("ui".to_owned(), (port, 1))].into(),
            trees: [("t".to_owned(), (Digest::of(b"t"), "/trees/t".to_owned()))].into(),
            secrets: [("s".to_owned(), "id1".to_owned())].into(),
            ..Bindings::default()
        };
        resolve(&plan, 1, &Digest::of(b"o"), bindings, "/files").unwrap()
    }

    fn between(old: &Applied, new: &Applied) -> Changes {
        let mut local = Local::new(crate::ids::UnitId::new("web", 0));
        local.applied = Some(old.clone());
        Changes::between(&local, new)
    }

    fn plan() -> Value {
        json!({"format": 1, "files": {"conf/a": {"text": "port=${port:ui}"}, "key": {"text": "${secret:s}"}},
            "services": {"web": {"command": ["${tree:t}/bin/x", "${file:conf}", "${file:key}"], "trees": ["t"],
                "files": ["conf", "key"]}, "other": {"command": ["y"]}}})
    }

    #[test]
    fn only_declared_inputs_change_a_service() {
        let one = applied(&plan(), 80);
        assert_eq!(between(&one, &applied(&plan(), 80)), Changes::default());
        let moved = between(&one, &applied(&plan(), 81));
        assert_eq!(moved.changed, ["web".to_owned()].into());
        let mut probed = plan();
        probed["services"]["web"]["ready"] = json!([{"tcp": "a:1"}]);
        assert_eq!(between(&one, &applied(&probed, 80)), Changes::default());
        let mut without = plan();
        without["services"].as_object_mut().unwrap().remove("other");
        assert_eq!(between(&one, &applied(&without, 80)).removed, ["other".to_owned()].into());
    }

    #[test]
    fn what_is_followed_restarts_nothing() {
        let mut follows = plan();
        follows["services"]["web"] =
            json!({"command": ["x", "${file:conf}"], "files": [], "follows": ["file:conf"]});
        let changes = between(&applied(&follows, 80), &applied(&follows, 81));
        assert_eq!(changes, Changes::default());
    }

    #[test]
    fn files_are_named_by_content_and_hold_no_secret_value() {
        let one = applied(&plan(), 80);
        assert_eq!(one.groups["conf"].files["a"].text, "port=80");
        assert_eq!(one.bindings.files["conf/a"], format!("{}/a", one.groups["conf"].path));
        let key = &one.groups["key"].files[""];
        assert_eq!((key.text.as_str(), key.mode, key.secret), ("${secret:s}", 0o600, true));
        assert_ne!(one.groups["conf"].path, applied(&plan(), 81).groups["conf"].path);
    }

    #[test]
    fn circles_are_refused() {
        let plan: Plan = from_value(json!({"format": 1,
            "files": {"a": {"text": "${file:b}"}, "b": {"text": "${file:a}"}}}))
        .unwrap();
        let done = resolve(&plan, 1, &Digest::of(b""), Bindings::default(), "/f");
        assert!(matches!(done, Err(ResolveError::Circle(_))));
    }
}
