//! What a valid plan is: shape, names, references, placeholders, limits. Owns every refusal of a plan;
//! all of a plan is checked before any of it is used.

use std::collections::BTreeSet;

use super::{FORMAT, Plan, Service, Task, strings_of};
use crate::ids::check_label;
use crate::observation::{Memory, Observation};
use crate::placeholder::{Kind, holes};
use crate::{size, strict};

/// The largest plan, in bytes of JSON.
pub(super) const MAX_PLAN: usize = 256 * 1024;
/// The largest value of relation data, in bytes.
pub(super) const MAX_VALUE: usize = 64 * 1024;

/// A plan that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// Not JSON, or not of this shape.
    #[error("cannot read the plan: {0}")]
    Shape(String),
    /// Of a format that this stoker does not know.
    #[error("cannot use the plan: its format is {0}, this stoker knows {FORMAT}")]
    Format(u32),
    /// Larger than the store takes.
    #[error("cannot use the plan: it has {0} bytes, at most {MAX_PLAN} are allowed")]
    TooLarge(usize),
    /// Something in it does not hold.
    #[error("cannot use the plan: {0}")]
    Invalid(String),
}

/// Reads and checks a plan that answers `observation`.
pub fn parse(json: &[u8], observation: &Observation) -> Result<Plan, PlanError> {
    if json.len() > MAX_PLAN {
        return Err(PlanError::TooLarge(json.len()));
    }
    let plan: Plan =
        serde_json::from_slice(json).map_err(|e| PlanError::Shape(strict::explain(&e.to_string())))?;
    check(&plan, observation)?;
    Ok(plan)
}

fn invalid<T>(what: impl Into<String>) -> Result<T, PlanError> {
    Err(PlanError::Invalid(what.into()))
}

fn check(plan: &Plan, observation: &Observation) -> Result<(), PlanError> {
    if plan.format != FORMAT {
        return Err(PlanError::Format(plan.format));
    }
    names(plan)?;
    generation(plan)?;
    for (id, data) in &plan.relations {
        if !observation.relations.iter().any(|r| r.id.to_string() == *id) {
            return invalid(format!("relation `{id}` is not in the observation"));
        }
        let bags = [&data.app, &data.unit];
        if let Some((key, _)) = bags.iter().flat_map(|bag| bag.iter()).find(|(_, v)| v.len() > MAX_VALUE) {
            return invalid(format!("relation `{id}`: `{key}` has more than {MAX_VALUE} bytes"));
        }
        if bags.iter().any(|bag| bag.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > MAX_PLAN) {
            return invalid(format!("relation `{id}`: its data has more than {MAX_PLAN} bytes"));
        }
        if bags.iter().flat_map(|bag| bag.values()).any(|v| holes(v).any(|(kind, _)| kind == Kind::Secret)) {
            return invalid(format!("relation `{id}` holds a secret's value; publish its id instead"));
        }
    }
    for (name, dir) in &plan.dirs {
        mode(&format!("folder `{name}`"), dir.mode.as_deref())?;
        if let Some(path) = &dir.path
            && (!dir.keep || !path.starts_with('/') || path.split('/').any(|part| part == ".."))
        {
            return invalid(format!("folder `{name}`: `path` must be absolute, and only with `keep`"));
        }
        if let Some(tree) = &dir.tree {
            if !plan.trees.contains_key(tree) {
                return invalid(format!(
                    "folder `{name}` goes with tree `{tree}`, which the plan does not have"
                ));
            }
            if dir.keep || dir.generation {
                return invalid(format!(
                    "folder `{name}` goes with its tree: it is neither kept nor a generation's"
                ));
            }
        }
    }
    for (name, file) in &plan.files {
        mode(&format!("file `{name}`"), file.mode.as_deref())?;
        placeholders(plan, &format!("file `{name}`"), &file.text, file.live)?;
    }
    for (name, port) in &plan.ports {
        if port.count == 0 || u32::from(port.prefer) + u32::from(port.count) > 65_536 {
            return invalid(format!("port `{name}`: no such range"));
        }
    }
    for (name, secret) in &plan.secrets {
        match (&secret.generate, &secret.from) {
            (Some(how), None) if secret_size(how).is_some() => {}
            (Some(how), None) => return invalid(format!("secret `{name}`: cannot generate `{how}`")),
            (None, Some(id)) if id.starts_with("secret:") => {}
            _ => {
                return invalid(format!(
                    "secret `{name}`: needs one of `generate` and `from` (a `secret:ID`)"
                ));
            }
        }
        if let Some(scope) = secret.scope.as_deref()
            && !matches!(scope, "app" | "unit")
        {
            return invalid(format!("secret `{name}`: scope `{scope}` is neither app nor unit"));
        }
    }
    for (name, service) in &plan.services {
        check_service(plan, name, service)?;
    }
    for (name, task) in &plan.tasks {
        check_task(plan, &format!("task `{name}`"), task)?;
    }
    if plan.remember != Memory::default() && observation.action.is_none() {
        return invalid("`remember` is for an action's run; a plan says what it remembers in `state`");
    }
    plan.action.as_ref().map_or(Ok(()), |task| check_task(plan, "the action", task))
}

/// How many random bytes `hexN` or `base64N` asks for.
pub(crate) fn secret_size(how: &str) -> Option<usize> {
    let number = how.strip_prefix("hex").or_else(|| how.strip_prefix("base64"))?;
    number.parse().ok().filter(|n| (16..=1024).contains(n))
}

/// The longest key of a generation, in bytes.
const MAX_KEY: usize = 256;

fn generation(plan: &Plan) -> Result<(), PlanError> {
    let services = plan.services.iter().filter(|(_, s)| s.generation).map(|(name, _)| ("service", name));
    let ports = plan.ports.iter().filter(|(_, p)| p.generation).map(|(name, _)| ("port", name));
    let dirs = plan.dirs.iter().filter(|(_, d)| d.generation).map(|(name, _)| ("folder", name));
    let Some(generation) = &plan.generation else {
        return match services.chain(ports).chain(dirs).next() {
            Some((what, name)) => {
                invalid(format!("{what} `{name}` is of a generation, and the plan names none"))
            }
            None => Ok(()),
        };
    };
    let plain = |key: &String| !key.is_empty() && key.len() <= MAX_KEY && !key.contains(char::is_control);
    if let Some(key) = [&generation.key].into_iter().chain(&generation.keep).find(|key| !plain(key)) {
        return invalid(format!(
            "the generation's key `{}` is empty, too long or no text",
            key.escape_debug()
        ));
    }
    if let Some(deadline) = &generation.deadline {
        duration("the generation", "deadline", deadline)?;
    }
    match plan.dirs.iter().find(|(_, dir)| dir.generation && (dir.keep || dir.path.is_some())) {
        Some((name, _)) => invalid(format!(
            "folder `{name}` goes with its generation: it cannot be kept, nor have a place of its own"
        )),
        None => Ok(()),
    }
}

fn names(plan: &Plan) -> Result<(), PlanError> {
    let named = plan.trees.keys().chain(plan.dirs.keys()).chain(plan.ports.keys()).chain(plan.secrets.keys());
    for name in named.chain(plan.services.keys()).chain(plan.tasks.keys()) {
        check_label(name).map_err(|e| PlanError::Invalid(e.to_string()))?;
    }
    for name in plan.files.keys() {
        let parts: Vec<&str> = name.split('/').collect();
        let plain = |p: &&str| !p.is_empty() && *p != "." && *p != ".." && !p.contains(['\0', '\\', '\n']);
        if parts.len() > 8 || name.len() > 512 || !parts.iter().all(plain) {
            return invalid(format!("file `{name}`: not a relative path"));
        }
        if plan.files.keys().any(|other| other.starts_with(&format!("{name}/"))) {
            return invalid(format!("file `{name}` is also a folder"));
        }
    }
    Ok(())
}

fn mode(what: &str, mode: Option<&str>) -> Result<(), PlanError> {
    match mode {
        Some(text) if u32::from_str_radix(text, 8).map_or(true, |m| m > 0o1777) => {
            invalid(format!("{what}: mode `{text}` is not octal"))
        }
        _ => Ok(()),
    }
}

fn check_service(plan: &Plan, name: &str, service: &Service) -> Result<(), PlanError> {
    let what = format!("service `{name}`");
    if service.command.is_empty() {
        return invalid(format!("{what} has no command"));
    }
    references(plan, &what, &service.trees, &service.files, &service.dirs, &service.ports, &service.needs)?;
    for follow in &service.follows {
        let known = match follow.split_once(':') {
            Some(("tree", tree)) => plan.trees.contains_key(tree),
            Some(("file", file)) => has_file(plan, file),
            // Where a folder is never changes; whoever follows it only reads there.
            Some(("dir", dir)) => plan.dirs.contains_key(dir),
            _ => false,
        };
        if !known {
            return invalid(format!("{what} follows `{follow}`, which the plan does not have"));
        }
    }
    for (kind, probe) in service
        .ready
        .iter()
        .map(|p| ("ready", p))
        .chain(service.live.iter().map(|p| ("live", p)))
        .chain(service.busy.values().map(|p| ("busy", p)))
    {
        probe.check().map_err(|why| PlanError::Invalid(format!("{what}: a {kind} probe {why}")))?;
    }
    duration(&what, "stop.grace", &service.stop.grace)?;
    if !matches!(
        service.stop.signal.as_str(),
        "TERM" | "INT" | "QUIT" | "HUP" | "USR1" | "USR2" | "PWR" | "KILL"
    ) {
        return invalid(format!("{what}: unknown stop signal `{}`", service.stop.signal));
    }
    if let Some(drain) = &service.stop.drain
        && !plan.tasks.contains_key(drain)
    {
        return invalid(format!("{what}: drain task `{drain}` is not in the plan"));
    }
    if !matches!(service.restart.on.as_str(), "failure" | "always" | "never") {
        return invalid(format!(
            "{what}: restart on `{}` is none of failure, always, never",
            service.restart.on
        ));
    }
    for step in &service.restart.backoff {
        duration(&what, "restart.backoff", step)?;
    }
    limits(&what, &service.limits)?;
    all_strings(plan, &what, service)
}

fn check_task(plan: &Plan, what: &str, task: &Task) -> Result<(), PlanError> {
    if task.command.is_empty() {
        return invalid(format!("{what} has no command"));
    }
    if !matches!(task.when.as_deref(), None | Some("before-move")) {
        return invalid(format!("{what}: `when` must be absent or before-move"));
    }
    if !matches!(task.once.as_deref(), None | Some("app")) {
        return invalid(format!("{what}: `once` must be absent or app"));
    }
    references(plan, what, &task.trees, &task.files, &task.dirs, &task.ports, &task.needs)?;
    for (field, text) in [("timeout", &task.timeout), ("every", &task.every)] {
        if let Some(text) = text {
            duration(what, field, text)?;
        }
    }
    limits(what, &task.limits)?;
    all_strings(plan, what, task)
}

fn duration(what: &str, field: &str, text: &str) -> Result<(), PlanError> {
    size::duration(text).map(|_| ()).map_err(|e| PlanError::Invalid(format!("{what}: {field}: {e}")))
}

fn limits(what: &str, limits: &super::Limits) -> Result<(), PlanError> {
    if [limits.memory, limits.cores, limits.nofile].iter().any(|n| *n > size::MAX_SAFE) {
        return invalid(format!("{what}: a limit is above 2^53"));
    }
    Ok(())
}

fn has_file(plan: &Plan, name: &str) -> bool {
    plan.files.contains_key(name) || plan.files.keys().any(|file| file.starts_with(&format!("{name}/")))
}

fn references(
    plan: &Plan,
    what: &str,
    trees: &[String],
    files: &[String],
    dirs: &[String],
    ports: &[String],
    needs: &[String],
) -> Result<(), PlanError> {
    let missing = |kind: &str, name: &str| {
        invalid(format!("{what} names {kind} `{name}`, which the plan does not have"))
    };
    if let Some(name) = trees.iter().find(|n| !plan.trees.contains_key(*n)) {
        return missing("tree", name);
    }
    if let Some(name) = files.iter().find(|n| !has_file(plan, n)) {
        return missing("file", name);
    }
    if let Some(name) = dirs.iter().find(|n| !plan.dirs.contains_key(*n)) {
        return missing("folder", name);
    }
    if let Some(name) = ports.iter().find(|n| !plan.ports.contains_key(*n)) {
        return missing("port", name);
    }
    for need in needs {
        let known = match need.strip_prefix("task:") {
            Some(task) => plan.tasks.contains_key(task),
            None => plan.services.contains_key(need),
        };
        if !known {
            return missing("need", need);
        }
    }
    Ok(())
}

fn all_strings<T: serde::Serialize>(plan: &Plan, what: &str, part: &T) -> Result<(), PlanError> {
    let value = serde_json::to_value(part).map_err(|e| PlanError::Shape(e.to_string()))?;
    let mut first = Ok(());
    strings_of(&value, &mut |text| {
        if first.is_ok() {
            first = placeholders(plan, what, text, false);
        }
    });
    first
}

fn placeholders(plan: &Plan, what: &str, text: &str, live: bool) -> Result<(), PlanError> {
    for (kind, name) in holes(text) {
        let known = match kind {
            Kind::Tree => plan.trees.contains_key(name),
            Kind::Port => plan.ports.contains_key(name),
            Kind::Dir => plan.dirs.contains_key(name),
            Kind::File => has_file(plan, name),
            Kind::Secret => plan.secrets.contains_key(name),
            // Bindings are the agent's; `default` is always there.
            Kind::Address => true,
        };
        if !known {
            let all: BTreeSet<&str> = match kind {
                Kind::Tree => plan.trees.keys().map(String::as_str).collect(),
                Kind::Port => plan.ports.keys().map(String::as_str).collect(),
                Kind::Dir => plan.dirs.keys().map(String::as_str).collect(),
                Kind::File => plan.files.keys().map(String::as_str).collect(),
                Kind::Secret => plan.secrets.keys().map(String::as_str).collect(),
                Kind::Address => BTreeSet::new(),
            };
            let hint =
                strict::nearest(name, all).map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default();
            return invalid(format!("{what}: `${{{kind}:{name}}}` names nothing in the plan{hint}"));
        }
        if live && kind == Kind::Secret {
            return invalid(format!("{what}: a live file cannot hold a secret"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn said(plan: &Value) -> String {
        parse(plan.to_string().as_bytes(), &Observation::default())
            .map_or_else(|e| e.to_string(), |_| "ok".into())
    }

    #[test]
    fn accepts_a_whole_plan() {
        let plan = json!({"format": 1, "status": {"state": "active"},
            "ports": {"ui": {"prefer": 8080}}, "dirs": {"data": {"keep": true}},
            "files": {"conf/a.xml": {"text": "${port:ui} ${user.name}"}},
            "services": {"web": {"command": ["x", "${file:conf}"], "files": ["conf"], "dirs": ["data"],
                "ready": [{"http": "http://${address:default}:${port:ui}/"}], "needs": ["task:init"]}},
            "tasks": {"init": {"command": ["true"]}}});
        assert_eq!(said(&plan), "ok");
    }

    #[test]
    fn refuses_with_one_clear_sentence() {
        for (plan, needle) in [
            (json!({"format": 2}), "format is 2"),
            (json!({"format": 1, "sevices": {}}), "did you mean `services`"),
            (json!({"format": 1, "services": {"a": {}}}), "has no command"),
            (json!({"format": 1, "services": {"a": {"command": ["${port:ui}"]}}}), "names nothing"),
            (json!({"format": 1, "services": {"a": {"command": ["x"], "needs": ["task:b"]}}}), "names need"),
            (json!({"format": 1, "generation": {"key": ""}}), "key `` is empty"),
            (json!({"format": 1, "generation": {"key": "k", "deadline": "soon"}}), "not a duration"),
            (json!({"format": 1, "dirs": {"a": {"generation": true}}}), "the plan names none"),
            (
                json!({"format": 1, "generation": {"key": "k"}, "dirs": {"a": {"generation": true, "keep": true}}}),
                "cannot be kept",
            ),
            (json!({"format": 1, "dirs": {"a": {"tree": "t"}}}), "which the plan does not have"),
            (
                json!({"format": 1, "trees": {"t": {"base": crate::ids::Digest::of(b"t")}},
                    "dirs": {"a": {"tree": "t", "keep": true}}}),
                "neither kept nor",
            ),
            (json!({"format": 1, "relations": {"3": {}}}), "not in the observation"),
            (json!({"format": 1, "files": {"../x": {}}}), "not a relative path"),
            (json!({"format": 1, "files": {"a": {}, "a/b": {}}}), "also a folder"),
            (json!({"format": 1, "dirs": {"a": {"mode": "9"}}}), "not octal"),
            (json!({"format": 1, "secrets": {"a": {"generate": "hex4"}}}), "cannot generate"),
            (json!({"format": 1, "ports": {"a": {"prefer": 65535, "count": 2}}}), "no such range"),
            (json!({"format": 1, "tasks": {"a": {"command": ["x"], "timeout": "60"}}}), "not a duration"),
            (json!({"format": 1, "status": {"state": "happy"}}), "unknown variant"),
        ] {
            let message = said(&plan);
            assert!(message.contains(needle), "{plan}: {message}");
        }
    }

    #[test]
    fn refuses_a_huge_plan() {
        let plan = json!({"format": 1, "files": {"a": {"text": "x".repeat(MAX_PLAN)}}});
        assert!(said(&plan).contains("at most"));
    }
}
