//! Telling a charm's own voice from the world's: in what two observations differ, and whether the unit's own output
//! is the cause. Owns when runs count as echoes; must not know how observations come about.

use std::collections::BTreeSet;

use serde_json::Value;

/// Why an observation differs from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Something came from outside: a user, a peer, a process that ended, a task's result.
    World,
    /// Only what the unit itself said: these fields.
    Own(String),
    /// Only which services and tasks its own plan has, and their way up. A plan may go through many such steps; it
    /// is an echo where the very same observation comes back.
    Steps(String),
}

/// Compares two observations of one unit.
pub fn cause(last: &Value, seen: &Value) -> Cause {
    let keys: BTreeSet<&String> =
        [last, seen].into_iter().filter_map(|v| v.as_object()).flat_map(|map| map.keys()).collect();
    let (mut own, mut sure) = (Vec::new(), false);
    for key in keys.into_iter().filter(|key| last.get(*key) != seen.get(*key)) {
        match key.as_str() {
            "state" | "ports" | "secrets" => {
                own.push(key.as_str());
                sure = true;
            }
            "relations" if own_data_only(last, seen) => {
                own.push("its relation data");
                sure = true;
            }
            "tasks" if each(last, seen, "tasks", task_moved) => own.push("tasks"),
            "services" if each(last, seen, "services", service_moved) => own.push("services"),
            "generation" => own.push("generation"),
            "generations" if other_generations(last, seen) => own.push("generations"),
            _ => return Cause::World,
        }
    }
    let own = own.join(" and ");
    if sure { Cause::Own(own) } else { Cause::Steps(own) }
}

/// Whether other generations are there than were: what becomes of one is news of the world.
fn other_generations(last: &Value, seen: &Value) -> bool {
    let numbers = |of: &Value| -> Option<Vec<Value>> {
        Some(of.get("generations")?.as_array()?.iter().map(|generation| generation["n"].clone()).collect())
    };
    numbers(last) != numbers(seen)
}

/// Whether all that differs below `key` is which entries there are, or an entry's expected way.
fn each(last: &Value, seen: &Value, key: &str, expected: fn(&Value, &Value) -> bool) -> bool {
    let (Some(last), Some(seen)) = (last[key].as_object(), seen[key].as_object()) else { return false };
    last.iter().all(|(name, before)| seen.get(name).is_none_or(|now| before == now || expected(before, now)))
}

/// A task that is begun or, by another key, is another task. What became of one is news of the world.
fn task_moved(before: &Value, now: &Value) -> bool {
    before["key"] != now["key"] || (before["state"] == "waiting" && now["state"] == "running")
}

/// A service on its way to ready.
fn service_moved(before: &Value, now: &Value) -> bool {
    let on_its_way = |state: &Value| state == "stopped" || state == "starting";
    on_its_way(&before["state"]) && (now["state"] == "starting" || now["state"] == "ready")
}

/// Whether two observations' relations differ only in what the unit published itself.
fn own_data_only(last: &Value, seen: &Value) -> bool {
    let without = |value: &Value| -> Option<Value> {
        let mut relations = value.get("relations")?.clone();
        for relation in relations.as_array_mut()? {
            relation.as_object_mut()?.remove("ours");
        }
        Some(relations)
    };
    without(last) == without(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(services: Value, tasks: Value) -> Value {
        json!({"config": {"a": 1}, "state": {"unit": {}}, "services": services, "tasks": tasks,
            "relations": [{"id": 1, "app": {"k": "v"}, "ours": {"unit": {}}}]})
    }

    #[test]
    fn what_others_did_is_the_world() {
        let base = of(json!({}), json!({}));
        for pointer in ["/config/a", "/relations/0/app/k"] {
            let mut other = base.clone();
            *other.pointer_mut(pointer).unwrap() = json!(2);
            other["state"]["unit"]["n"] = json!("1");
            assert_eq!(cause(&base, &other), Cause::World, "{pointer}");
        }
    }

    #[test]
    fn what_the_unit_said_is_its_own() {
        let base = of(json!({}), json!({}));
        let mut other = base.clone();
        other["state"]["unit"]["n"] = json!("1");
        other["relations"][0]["ours"]["unit"]["n"] = json!("1");
        assert_eq!(cause(&base, &other), Cause::Own("its relation data and state".into()));
    }

    #[test]
    fn a_plans_services_and_tasks_are_steps_and_their_ends_are_news() {
        let state = |state: &str| json!({"web": {"state": state, "reason": ""}});
        let task = |key: &str, state: &str| json!({"t": {"key": key, "state": state}});
        let steps = |a: Value, b: Value| cause(&a, &b);
        let services = Cause::Steps("services".into());
        assert_eq!(steps(of(json!({}), json!({})), of(state("starting"), json!({}))), services);
        assert_eq!(steps(of(state("starting"), json!({})), of(state("ready"), json!({}))), services);
        assert_eq!(steps(of(state("ready"), json!({})), of(json!({}), json!({}))), services);
        assert_eq!(steps(of(state("ready"), json!({})), of(state("unready"), json!({}))), Cause::World);
        assert_eq!(steps(of(state("starting"), json!({})), of(state("failed"), json!({}))), Cause::World);
        let tasks = Cause::Steps("tasks".into());
        let with = |task: Value| of(json!({}), task);
        assert_eq!(steps(with(json!({})), with(task("a", "waiting"))), tasks);
        assert_eq!(steps(with(task("a", "waiting")), with(task("a", "running"))), tasks);
        assert_eq!(steps(with(task("a", "done")), with(task("b", "waiting"))), tasks);
        assert_eq!(steps(with(task("a", "running")), with(task("a", "done"))), Cause::World);
        assert_eq!(steps(with(task("a", "done")), with(task("a", "retry"))), Cause::World);
    }
}
