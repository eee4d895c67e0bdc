//! What statuses say of an upgrade: where it is, what comes next, what mends it.

use stoker_charm::observation::Observation;
use stoker_charm::status::{State, Status};

use super::{Build, Difference, Phase, Upgrade};
use crate::plan::cluster::Cluster;

impl Difference {
    /// The build and the data, side by side.
    pub(crate) fn says(&self, version: &str) -> String {
        let Self { who, had, has, .. } = self;
        match has {
            Some(has) => format!("Hadoop {version} has {who} layout {has}, the data have {had}"),
            None => format!("Hadoop {version} does not tell its {who} layout, the data have {had}"),
        }
    }

    /// Blocked until a person decides; `runs` goes on meanwhile.
    pub(crate) fn status(&self, app: &str, attached: &Build, runs: Option<&Build>) -> Status {
        let says = self.says(&attached.facts.version);
        let blocked =
            |rest: String, fix: String| Status::new(State::Blocked, format!("{says}: {rest}")).fix(fix);
        match runs {
            Some(runs) if self.up => blocked(
                format!("needs an explicit upgrade; {} goes on until then", runs.version()),
                format!("stoker run {app}/leader upgrade"),
            ),
            Some(runs) => blocked(
                format!("a layout does not go back; {} goes on", runs.version()),
                format!("stoker attach-resource {app} hadoop=recipe:{}", runs.version()),
            ),
            None if self.up => blocked(
                "needs an explicit upgrade from the Hadoop that they were last used with".to_owned(),
                format!("attach a Hadoop whose {} layout is {} first", self.who, self.had),
            ),
            None => blocked(
                "a layout does not go back".to_owned(),
                format!("attach a Hadoop whose {} layout is {}", self.who, self.had),
            ),
        }
    }
}

impl Upgrade {
    /// Where it is and what comes next. `serves` is what is said of a filesystem that serves.
    pub(crate) fn status(
        &self,
        seen: &Observation,
        cluster: &Cluster,
        attached: &Build,
        serves: &str,
    ) -> Status {
        let app = &seen.app;
        let (from, to) = (self.from.version(), self.to.version());
        if self.phase == Phase::Open {
            return self.open(app, attached, serves);
        }
        let (step, next) = match self.phase {
            Phase::Prepare => ("1 of 4: saving the namespace", "HDFS stops"),
            Phase::Release | Phase::Released => ("leaving safe mode", "all is as before"),
            Phase::Stop => ("2 of 4: stopping HDFS", "the metadata are converted"),
            Phase::Convert => ("3 of 4: converting the metadata", "HDFS starts"),
            Phase::Start => ("4 of 4: starting", "finalize or rollback"),
            Phase::Open | Phase::Finalize | Phase::Final => {
                ("letting go of what was kept", "it cannot be taken back")
            }
            Phase::BackAsk | Phase::BackStop => ("1 of 3: stopping HDFS", "the metadata are put back"),
            Phase::Restore => ("2 of 3: putting the metadata back", "HDFS starts"),
            Phase::BackStart | Phase::BackSettle | Phase::Back => {
                ("3 of 3: starting", "all is as before the upgrade")
            }
        };
        let what = match self.phase {
            Phase::Finalize | Phase::Final => format!("finalize {to}"),
            Phase::Release | Phase::Released => format!("upgrade {from} to {to} called off"),
            Phase::BackAsk
            | Phase::BackStop
            | Phase::Restore
            | Phase::BackStart
            | Phase::BackSettle
            | Phase::Back => {
                format!("rollback {to} to {from}")
            }
            _ => format!("upgrade {from} to {to}"),
        };
        if let Some((task, reason)) = self.failed(seen) {
            let back = match self.phase.after(super::Verb::Rollback) {
                Some(_) => format!("; or back: stoker run {app}/leader rollback"),
                None => String::new(),
            };
            return Status::new(State::Blocked, format!("{what}, {step}, failed: {reason}"))
                .fix(format!("stoker restart {}/{task}{back}", seen.unit));
        }
        let waits = self.phase.waits_for().and_then(|task| seen.tasks.get(task));
        let waits = waits.map(|task| task.reason.as_str()).filter(|reason| !reason.is_empty());
        let mut waits = waits.map(|reason| format!(" ({reason})")).unwrap_or_default();
        if matches!(self.phase, Phase::Stop | Phase::BackStop) && cluster.here && seen.services.is_empty() {
            let units: Vec<&str> = self.not_stopped(seen, cluster).map(String::as_str).collect();
            if !units.is_empty() {
                waits = format!(" ({} still to be stopped)", units.join(", "));
            }
        }
        Status::new(State::Waiting, format!("{what}, {step}{waits}; next: {next}"))
    }

    fn open(&self, app: &str, attached: &Build, serves: &str) -> Status {
        let (from, to) = (self.from.version(), self.to.version());
        let run = format!("stoker run {app}/leader");
        if attached.build == self.from.build {
            let says = format!("Hadoop {from} is attached again, and the data were upgraded to {to}");
            return Status::new(State::Blocked, says).fix(format!("{run} rollback"));
        }
        if attached.build != self.to.build {
            let says = format!(
                "Hadoop {} waits until the upgrade from {from} to {to} is finalized or taken back",
                attached.version()
            );
            return Status::new(State::Blocked, says).fix(format!("{run} finalize"));
        }
        let next = "loses what was written since";
        Status::new(
            State::Active,
            format!("{serves}; upgraded from {from}, next: {run} finalize, or rollback ({next})"),
        )
    }
}

/// Why an action cannot be now.
pub(crate) fn refusal(verb: &str, upgrade: Option<&Upgrade>) -> String {
    let at = match upgrade.map(|upgrade| upgrade.phase) {
        None => "no upgrade is under way",
        Some(Phase::Prepare | Phase::Stop | Phase::Convert | Phase::Start) => "an upgrade is under way",
        Some(Phase::Open) => "the data are upgraded already: finalize or rollback is next",
        Some(Phase::Finalize | Phase::Final) => "the upgrade is being finalized",
        Some(_) => "the upgrade is being taken back",
    };
    format!("cannot {verb}: {at}")
}
