//! Where records are in the store: `/stoker/1/m/MODEL/…`. Owns every key's spelling, both ways.

use crate::ids::UnitId;

/// A key below a model, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The model's own record.
    Model,
    /// A change by number.
    Change(u64),
    /// An application.
    App(String),
    /// A release of an application.
    Release(String, u64),
    /// A resource's revision: application, resource, revision.
    Revision(String, String, u64),
    /// What an application's plans remember.
    AppState(String),
    /// A unit, as desired.
    Unit(UnitId),
    /// A unit, as reported.
    Report(UnitId),
    /// What a unit's plans remember.
    UnitState(UnitId),
    /// A relation.
    Relation(u64),
    /// Relation data of an application.
    AppData(u64, String),
    /// Relation data of a unit.
    UnitData(u64, UnitId),
    /// A task's result: owner (an application, or a unit as `app-n`), task, key.
    Task(String, String, String),
    /// A secret by id.
    Secret(String),
    /// An action by number.
    Action(u64),
}

/// The prefix of everything of a model.
pub fn model_prefix(model: &str) -> String {
    format!("/stoker/1/m/{model}/")
}

impl Key {
    /// The whole key within a model.
    pub fn of(&self, model: &str) -> String {
        let rest = match self {
            Self::Model => "model".into(),
            Self::Change(n) => format!("change/{n:010}"),
            Self::App(app) => format!("app/{app}"),
            Self::Release(app, n) => format!("release/{app}/{n:010}"),
            Self::Revision(app, resource, n) => format!("resource/{app}/{resource}/{n:010}"),
            Self::AppState(app) => format!("app-state/{app}"),
            Self::Unit(unit) => format!("unit/{}", unit.dashed()),
            Self::Report(unit) => format!("report/{}", unit.dashed()),
            Self::UnitState(unit) => format!("unit-state/{}", unit.dashed()),
            Self::Relation(id) => format!("relation/{id:010}"),
            Self::AppData(id, app) => format!("data/{id:010}/app/{app}"),
            Self::UnitData(id, unit) => format!("data/{id:010}/unit/{}", unit.dashed()),
            Self::Task(owner, task, key) => format!("task/{owner}/{task}/{key}"),
            Self::Secret(id) => format!("secret/{id}"),
            Self::Action(id) => format!("action/{id:010}"),
        };
        format!("{}{rest}", model_prefix(model))
    }

    /// Reads a key (without the model's prefix) back; `None` for one that this version does not know.
    pub fn parse(rest: &str) -> Option<Self> {
        let parts: Vec<&str> = rest.split('/').collect();
        let unit = |text: &str| UnitId::from_dashed(text).ok();
        Some(match parts.as_slice() {
            ["model"] => Self::Model,
            ["change", n] => Self::Change(n.parse().ok()?),
            ["app", app] => Self::App((*app).into()),
            ["release", app, n] => Self::Release((*app).into(), n.parse().ok()?),
            ["resource", app, resource, n] => {
                Self::Revision((*app).into(), (*resource).into(), n.parse().ok()?)
            }
            ["app-state", app] => Self::AppState((*app).into()),
            ["unit", u] => Self::Unit(unit(u)?),
            ["report", u] => Self::Report(unit(u)?),
            ["unit-state", u] => Self::UnitState(unit(u)?),
            ["relation", id] => Self::Relation(id.parse().ok()?),
            ["data", id, "app", app] => Self::AppData(id.parse().ok()?, (*app).into()),
            ["data", id, "unit", u] => Self::UnitData(id.parse().ok()?, unit(u)?),
            ["task", owner, task, key] => Self::Task((*owner).into(), (*task).into(), (*key).into()),
            ["secret", id] => Self::Secret((*id).into()),
            ["action", id] => Self::Action(id.parse().ok()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reads_back() {
        let unit = UnitId::new("a-b", 3);
        for key in [
            Key::Model,
            Key::Change(7),
            Key::App("a-b".into()),
            Key::Release("a-b".into(), 2),
            Key::Revision("a-b".into(), "r".into(), 2),
            Key::AppState("a-b".into()),
            Key::Unit(unit.clone()),
            Key::Report(unit.clone()),
            Key::UnitState(unit.clone()),
            Key::Relation(4),
            Key::AppData(4, "a-b".into()),
            Key::UnitData(4, unit),
            Key::Task("a-b-3".into(), "t".into(), "k".into()),
            Key::Secret("x".into()),
            Key::Action(9),
        ] {
            let text = key.of("default");
            let rest = text.strip_prefix(&model_prefix("default")).unwrap();
            assert_eq!(Key::parse(rest), Some(key), "{text}");
        }
        assert_eq!(Key::parse("nothing/here"), None);
    }
}
