//! Why no plan can be made that changes anything: what runs stays, and the status says what to do.

use std::fmt::Write as _;

use stoker_charm::java as attached;
use stoker_charm::observation::{Facts, Observation};
use stoker_charm::plan::{self, Plan, Published};
use stoker_charm::status::{State, Status};

use crate::java::Range;

/// A status that holds everything as it is.
#[derive(Debug)]
pub(crate) struct Stuck {
    pub(crate) status: Status,
}

impl Stuck {
    /// A person has to do something.
    pub(super) fn blocked(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::new(State::Blocked, message).fix(fix) }
    }

    /// It comes by itself.
    pub(super) fn waiting(message: impl Into<String>) -> Self {
        Self { status: Status::new(State::Waiting, message) }
    }

    /// An option cannot be used.
    pub(super) fn option(app: &str, wrong: &anyhow::Error) -> Self {
        let said = format!("{wrong:#}");
        let option = said.split('`').nth(1).unwrap_or("OPTION").to_owned();
        Self::blocked(said, format!("stoker config {app} {option}=VALUE"))
    }

    /// No Java that there is runs this Hadoop.
    pub(super) fn java(facts: &Facts, range: Range, seen: &Observation) -> Self {
        let java = &seen.host.java;
        let mut wants = format!("{} or newer", range.least);
        if let Some(most) = range.most {
            wants = format!("{} to {most}", range.least);
        }
        let mut message = format!("Hadoop {} needs Java {wants}", facts.version);
        if let (Some(_), [java]) = (attached::attached(seen), java.as_slice()) {
            let _ = write!(message, ", the attached one is {}", java.version);
            let fix = format!("stoker attach-resource {} java=recipe:{}", seen.app, range.least.max(17));
            return Self::blocked(message, fix);
        }
        if java.is_empty() {
            message.push_str(", this host has none");
        } else {
            let found: Vec<String> = java.iter().map(|java| java.version.to_string()).collect();
            let _ = write!(message, ", this host has {}", found.join(", "));
        }
        Self::blocked(message, "apt install openjdk-17-jre-headless")
    }

    /// The plan that changes nothing.
    pub(super) fn plan(self, seen: &Observation) -> Plan {
        let said = |relation: &stoker_charm::observation::Relation| Published {
            app: relation.ours.app.clone(),
            unit: relation.ours.unit.clone(),
        };
        Plan {
            format: plan::FORMAT,
            version: seen
                .resources
                .get("hadoop")
                .map(|hadoop| hadoop.facts.version.clone())
                .unwrap_or_default(),
            hold: Some(self.status.message.clone()),
            status: self.status,
            relations: seen
                .relations
                .iter()
                .map(|relation| (relation.id.to_string(), said(relation)))
                .collect(),
            state: seen.state.clone(),
            ..Plan::default()
        }
    }
}
