//! Plans of units that cannot go on: all that was applied stays, what was published stays, the status says why.

use stoker_charm::observation::{Bag, Observation, Relation};
use stoker_charm::plan::{FORMAT, Plan, Published, Verdict};
use stoker_charm::status::{State, Status};

/// Why there is no ordinary plan.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stuck(Status, Option<Box<Verdict>>);

impl Stuck {
    /// Somebody has to do something.
    pub(super) fn blocked(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self(Status::new(State::Blocked, message).fix(fix), None)
    }

    /// Others have to say something first.
    pub(super) fn waiting(message: impl Into<String>) -> Self {
        Self(Status::new(State::Waiting, message), None)
    }

    /// With what is known of how the build fits.
    pub(super) fn judged(self, verdict: Option<Verdict>) -> Self {
        Self(self.0, verdict.map(Box::new))
    }

    /// The reason.
    pub(super) fn says(&self) -> &str {
        &self.0.message
    }

    /// The plan: hold, keep what was remembered and published.
    pub(super) fn plan(self, seen: &Observation) -> Plan {
        let published = seen.relations.iter().map(|relation| (relation.id.to_string(), published(relation)));
        Plan {
            format: FORMAT,
            version: seen.resources.get("spark").map(|r| r.facts.version.clone()).unwrap_or_default(),
            hold: Some(self.0.message.clone()),
            status: self.0,
            verdicts: self.1.into_iter().map(|verdict| *verdict).collect(),
            relations: published.collect(),
            state: seen.state.clone(),
            gone: seen.life == stoker_charm::observation::Life::Dying,
            ..Plan::default()
        }
    }
}

/// What we have published in a relation, as a plan says it.
pub(super) fn published(relation: &Relation) -> Published {
    let escaped =
        |bag: &Bag| bag.iter().map(|(key, value)| (key.clone(), super::defaults::escaped(value))).collect();
    Published { app: escaped(&relation.ours.app), unit: escaped(&relation.ours.unit) }
}
