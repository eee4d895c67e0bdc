//! Running things: actions, and a user's hand on services.

use std::collections::BTreeMap;

use serde_json::Value;
use stoker_model::charm::{self, ParamType};
use stoker_model::generation::named;
use stoker_model::ids::UnitId;
use stoker_model::keys::Key;
use stoker_model::observation::Memory;
use stoker_model::record::{Action, ActionState, Unit};
use stoker_model::size;

use super::draft::Draft;
use super::inputs::Inputs;
use crate::problem::{Problem, codes};

pub(super) fn run(
    draft: &mut Draft,
    inputs: &Inputs,
    units: &[String],
    name: &str,
    params: &BTreeMap<String, Value>,
) -> Result<String, Problem> {
    for text in units {
        let id = resolve(draft, text)?;
        let release = draft.release(&id.app)?;
        let Some(action) = release.description.actions.get(name) else {
            let known: Vec<&str> = release.description.actions.keys().map(String::as_str).collect();
            let title =
                format!("cannot run `{name}` on {id}: charm {} has no such action", release.charm_name);
            return Err(Problem::new(codes::NOT_FOUND, title)
                .evidence(format!("actions: {}", known.join(", ")))
                .did_you_mean(name, known));
        };
        let mut checked = check_params(name, action, params)?;
        for (param, path) in &inputs.files {
            checked.insert(param.clone(), Value::from(path.clone()));
        }
        let timeout = size::duration(&action.timeout).map_or(600_000, |d| d.as_millis() as u64);
        let n = draft.next_action();
        let record = Action {
            id: n,
            unit: id.clone(),
            name: name.to_owned(),
            params: checked,
            state: ActionState::Pending,
            exit: None,
            result: Value::Null,
            message: String::new(),
            output: String::new(),
            enqueued: draft.time,
            started: None,
            completed: None,
            timeout,
            change: draft.number(),
            generation: None,
            remember: Memory::default(),
        };
        draft.put(Key::Action(n), &record)?;
        draft.concerns(&id.app);
        draft.actions.push(n);
    }
    Ok(format!("enqueued {name} on {}", units.join(", ")))
}

fn resolve(draft: &Draft, text: &str) -> Result<UnitId, Problem> {
    if let Some(app) = text.strip_suffix("/leader") {
        draft.app(app, "run an action on")?;
        let title = format!("cannot run an action on `{text}`: {app} has no unit");
        return draft.snapshot.leader_of(app).ok_or_else(|| Problem::new(codes::NOT_FOUND, title));
    }
    Ok(draft.unit(text, "run an action on")?.id)
}

fn check_params(
    name: &str,
    action: &charm::Action,
    params: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, Problem> {
    let wrong = |code, why: String| Problem::new(code, format!("cannot run `{name}`: {why}"));
    if let Some(unknown) = params.keys().find(|param| !action.params.contains_key(*param)) {
        return Err(wrong(codes::NOT_FOUND, format!("it has no parameter `{unknown}`"))
            .did_you_mean(unknown, action.params.keys().map(String::as_str)));
    }
    let mut checked = BTreeMap::new();
    for (param, known) in &action.params {
        let given = params.get(param).cloned().or_else(|| known.default.clone().map(Value::from));
        let Some(value) = given else {
            if known.required {
                return Err(wrong(codes::USAGE, format!("it needs the parameter `{param}`")));
            }
            continue;
        };
        let text = value.as_str().map(ToOwned::to_owned);
        let typed = match (known.kind, &value) {
            (ParamType::String | ParamType::File, Value::String(_))
            | (ParamType::Bool, Value::Bool(_))
            | (ParamType::List, Value::Array(_)) => Some(value.clone()),
            (ParamType::String, other) => Some(Value::from(other.to_string())),
            (ParamType::Int, Value::Number(n)) => n.as_i64().map(Value::from),
            (ParamType::Float, Value::Number(n)) => n.as_f64().map(Value::from),
            (ParamType::Int, _) => text.and_then(|t| t.parse::<i64>().ok()).map(Value::from),
            (ParamType::Float, _) => text.and_then(|t| t.parse::<f64>().ok()).map(Value::from),
            (ParamType::Bool, _) => text.and_then(|t| t.parse::<bool>().ok()).map(Value::from),
            (ParamType::List, _) => {
                text.map(|t| t.split(',').map(str::trim).filter(|t| !t.is_empty()).map(Value::from).collect())
            }
            (ParamType::File, _) => None,
        };
        let typed = typed
            .ok_or_else(|| wrong(codes::INVALID_VALUE, format!("parameter `{param}` is of another type")))?;
        checked.insert(param.clone(), typed);
    }
    Ok(checked)
}

/// `APP/N` or `APP/N/WHAT`.
fn target(draft: &Draft, text: &str, verb: &str) -> Result<(Unit, Option<String>), Problem> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [app, n] => Ok((draft.unit(&format!("{app}/{n}"), verb)?, None)),
        [app, n, what] => Ok((draft.unit(&format!("{app}/{n}"), verb)?, Some((*what).to_owned()))),
        _ => {
            let title = format!("cannot {verb} `{text}`: expected UNIT or UNIT/SERVICE, as in `web/0`");
            Err(Problem::new(codes::INVALID_VALUE, title))
        }
    }
}

fn known_service(draft: &Draft, unit: &Unit, name: &str, verb: &str) -> Result<bool, Problem> {
    let report = draft.snapshot.reports.get(&unit.id);
    let mut services: Vec<String> = report.map(|r| r.services.keys().cloned().collect()).unwrap_or_default();
    for generation in report.iter().flat_map(|report| &report.generations) {
        services.extend(generation.services.keys().map(|name| named(name, generation.n)));
    }
    if services.iter().any(|service| service == name) {
        return Ok(true);
    }
    let owners = [unit.id.app.clone(), unit.id.dashed()];
    if draft.snapshot.tasks.keys().any(|(owner, task, _)| owners.contains(owner) && task == name) {
        return Ok(false);
    }
    let title = format!("cannot {verb} `{}/{name}`: the unit has no such service or task", unit.id);
    Err(Problem::new(codes::NOT_FOUND, title).evidence(format!("services: {}", services.join(", "))))
}

pub(super) fn stop(draft: &mut Draft, text: &str) -> Result<String, Problem> {
    let (mut unit, service) = target(draft, text, "stop")?;
    let name = service.unwrap_or_else(|| "*".into());
    if name != "*" && !known_service(draft, &unit, &name, "stop")? {
        return Err(Problem::new(codes::INVALID_VALUE, format!("cannot stop `{text}`: it is a task")));
    }
    if unit.stopped.contains(&name) {
        return Ok(format!("{text} is stopped already"));
    }
    unit.stopped.push(name);
    put(draft, &unit)?;
    Ok(format!("stops {text}"))
}

pub(super) fn start(draft: &mut Draft, text: &str) -> Result<String, Problem> {
    let (mut unit, service) = target(draft, text, "start")?;
    let before = unit.stopped.len();
    match service {
        None => unit.stopped.clear(),
        Some(name) => {
            known_service(draft, &unit, &name, "start")?;
            unit.stopped.retain(|stopped| *stopped != name && stopped != "*");
        }
    }
    if unit.stopped.len() == before {
        return Ok(format!("{text} was not stopped"));
    }
    put(draft, &unit)?;
    Ok(format!("starts {text}"))
}

pub(super) fn restart(draft: &mut Draft, text: &str) -> Result<String, Problem> {
    let (mut unit, service) = target(draft, text, "restart")?;
    let at = match service {
        None => "*".to_owned(),
        Some(name) if known_service(draft, &unit, &name, "restart")? => name,
        Some(task) => format!("task:{task}"),
    };
    unit.restart.insert(at, draft.number());
    put(draft, &unit)?;
    Ok(format!("restarts {text}"))
}

fn put(draft: &mut Draft, unit: &Unit) -> Result<(), Problem> {
    draft.put(Key::Unit(unit.id.clone()), unit)?;
    draft.concerns(&unit.id.app);
    Ok(())
}
