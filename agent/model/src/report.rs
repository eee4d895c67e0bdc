//! From a plan and what became of it to what the store is told: statuses and relation data. Owns which status
//! is shown and what of a plan is published.

use std::collections::BTreeMap;

use crate::observation::{Bag, Service, ServiceState, TaskState};
use crate::plan::Plan;
use crate::record::TaskResult;
use crate::resolve::Bindings;
use crate::status::{State, Status};

/// The status shown: the worst of the plan's, its services' and its tasks'.
pub fn shown_status(
    plan: &Plan,
    services: &BTreeMap<String, Service>,
    stopped: &[String],
    tasks: &BTreeMap<String, TaskResult>,
) -> Status {
    let mut shown = plan.status.clone();
    if let Some(hold) = &plan.hold {
        shown = shown.worst(Status::new(State::Waiting, hold.clone()));
    }
    for (name, service) in services {
        if stopped.iter().any(|s| s == name || s == "*") {
            let fix = format!("stoker start UNIT/{name}");
            shown = shown.worst(
                Status::new(State::Blocked, format!("{name}: stopped by a user")).code("ST0310").fix(fix),
            );
            continue;
        }
        let because = if service.reason.is_empty() { String::new() } else { format!(": {}", service.reason) };
        match service.state {
            ServiceState::Ready => {}
            ServiceState::Failed => {
                let said = Status::new(State::Error, format!("{name} failed{because}"));
                shown = shown.worst(said.code("ST0301").fix("stoker why UNIT; stoker restart UNIT"));
            }
            ServiceState::Stopped => {
                shown = shown.worst(Status::new(State::Waiting, format!("{name}: not started{because}")));
            }
            ServiceState::Starting => {
                shown = shown.worst(Status::new(State::Waiting, format!("{name}: starting{because}")));
            }
            ServiceState::Unready => {
                shown = shown.worst(Status::new(State::Waiting, format!("{name}: not ready{because}")));
            }
        }
    }
    for (name, task) in tasks {
        if plan.tasks.get(name).is_some_and(|task| task.idle) {
            continue;
        }
        let because = if task.reason.is_empty() { String::new() } else { format!(": {}", task.reason) };
        match task.state {
            TaskState::Done | TaskState::Waiting => {}
            TaskState::Running => {
                shown = shown.worst(Status::new(State::Waiting, format!("{name}: running")));
            }
            TaskState::Retry => {
                shown =
                    shown.worst(Status::new(State::Waiting, format!("{name}: will be tried again{because}")));
            }
            TaskState::Bad => {
                let said = Status::new(State::Blocked, format!("{name} failed{because}"));
                shown = shown.worst(said.code("ST0302").fix(format!("stoker restart UNIT/{name}")));
            }
        }
    }
    shown
}

/// Our bags of one relation as they are published: the plan's with placeholders resolved, and the agent's own keys
/// in the unit's.
pub fn bags(plan: &Plan, relation: u64, bindings: &Bindings, address: &str) -> (Bag, Bag) {
    let published = plan.relations.get(&relation.to_string()).cloned().unwrap_or_default();
    let resolve = |bag: BTreeMap<String, String>| -> Bag {
        // An empty value deletes its key, as in Juju.
        bag.into_iter().map(|(k, v)| (k, bindings.publish(&v))).filter(|(_, v)| !v.is_empty()).collect()
    };
    let mut unit = resolve(published.unit);
    for key in ["ingress-address", "private-address"] {
        unit.insert(key.into(), address.into());
    }
    unit.insert("egress-subnets".into(), format!("{address}/32"));
    (resolve(published.app), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_shown() {
        let plan = Plan { status: Status::new(State::Active, ""), ..Plan::default() };
        let service = |state, reason: &str| Service { state, reason: reason.into(), ..Service::default() };
        let ready: BTreeMap<_, _> = [("a".to_owned(), service(ServiceState::Ready, ""))].into();
        assert_eq!(shown_status(&plan, &ready, &[], &BTreeMap::new()).state, State::Active);
        let starting: BTreeMap<_, _> =
            [("a".to_owned(), service(ServiceState::Starting, "port 80 is closed"))].into();
        let shown = shown_status(&plan, &starting, &[], &BTreeMap::new());
        assert_eq!((shown.state, shown.message.as_str()), (State::Waiting, "a: starting: port 80 is closed"));
        let bad: BTreeMap<_, _> = [(
            "t".to_owned(),
            TaskResult { state: TaskState::Bad, reason: "x".into(), ..TaskResult::default() },
        )]
        .into();
        assert_eq!(shown_status(&plan, &starting, &[], &bad).state, State::Blocked);
        let idle = crate::plan::Task { idle: true, ..crate::plan::Task::default() };
        let plan = Plan { tasks: [("t".to_owned(), idle)].into(), ..plan };
        assert_eq!(shown_status(&plan, &ready, &[], &bad).state, State::Active, "nobody waits for it");
    }

    #[test]
    fn the_agents_keys_are_added_and_empty_values_dropped() {
        let plan: Plan = serde_json::from_value(serde_json::json!({"format": 1,
            "relations": {"3": {"unit": {"port": "${port:ui}", "gone": ""}}}}))
        .unwrap();
        let bindings = Bindings { ports: [("ui".to_owned(), (80, 1))].into(), ..Bindings::default() };
        let (app, unit) = bags(&plan, 3, &bindings, "10.0.0.1");
        assert!(app.is_empty());
        assert_eq!((unit["port"].as_str(), unit["ingress-address"].as_str()), ("80", "10.0.0.1"));
        assert!(!unit.contains_key("gone"));
    }
}
