//! `why`: the whole chain from a status to its causes, with evidence and what mends it, from the same records as
//! `status`.

use stoker_model::ids::UnitId;
use stoker_model::observation::{ServiceState, TaskState};
use stoker_model::snapshot::Snapshot;
use stoker_model::status::{State, Status};

use super::Core;
use super::lookup::{find_app, find_unit_or_leader};
use crate::api::types::{Cause, Why};
use crate::problem::Problem;
use crate::unit::service_name;

/// How much of a log is evidence.
const TAIL: u64 = 4096;
const LINES: usize = 10;

fn words(status: &Status) -> String {
    let state = status.state.word();
    if status.message.is_empty() { state.to_owned() } else { format!("{state}: {}", status.message) }
}

impl Core {
    /// Why an application or a unit is as it is.
    pub(crate) async fn why(&self, model: &str, subject: &str) -> Result<Why, Problem> {
        Self::check_model(model)?;
        let snapshot = self.snapshot();
        let units: Vec<UnitId> = if subject.contains('/') {
            vec![find_unit_or_leader(&snapshot, subject, "explain")?.id.clone()]
        } else {
            find_app(&snapshot, subject, "explain")?;
            snapshot.units_of(subject).map(|unit| unit.id.clone()).collect()
        };
        let mut why = Why { subject: subject.to_owned(), status: "no units".into(), causes: Vec::new() };
        let mut worst = None;
        for unit in &units {
            let Some(report) = snapshot.reports.get(unit) else { continue };
            if worst.is_none_or(|state| report.status.state > state) {
                worst = Some(report.status.state);
                why.status = words(&report.status);
            }
            self.causes(&snapshot, unit, &mut why.causes).await?;
        }
        Ok(why)
    }

    async fn causes(
        &self,
        snapshot: &Snapshot,
        unit: &UnitId,
        causes: &mut Vec<Cause>,
    ) -> Result<(), Problem> {
        let Some(report) = snapshot.reports.get(unit) else { return Ok(()) };
        let local = self.local(unit)?;
        if report.status.state > State::Active {
            let mut evidence = Vec::new();
            if let Some(failure) = local.as_ref().and_then(|local| local.failure.as_ref()) {
                evidence.extend(failure.evidence.lines().map(ToOwned::to_owned));
            }
            causes.push(Cause {
                cause: format!("{unit} is {}", words(&report.status)),
                evidence,
                fix: report.status.fix.clone(),
                code: report.status.code.clone(),
            });
        }
        for (name, service) in report.services.iter().filter(|(_, s)| s.state != ServiceState::Ready) {
            let applied = local.as_ref().and_then(|local| local.applied.as_ref());
            let full =
                service_name(unit, &applied.map_or_else(|| name.clone(), |applied| applied.run_name(name)));
            let observed = self.supervisor.observe(&full).await.ok();
            let mut evidence = Vec::new();
            if let Some(observed) = observed {
                if observed.restarts > 0 {
                    evidence.push(format!("restarted {} times", observed.restarts));
                }
                evidence.extend(observed.reason);
            }
            evidence.extend(self.tail(&full).await);
            causes.push(Cause {
                cause: format!("service {name} is {}{}", state_word(service.state), because(&service.reason)),
                evidence,
                fix: format!("stoker logs {unit}/{name}"),
                code: String::new(),
            });
        }
        let applied = local.and_then(|local| local.candidate.or(local.applied));
        let Some(applied) = applied else { return Ok(()) };
        for (name, key) in &applied.tasks {
            let task = applied.plan.tasks.get(name);
            if task.is_some_and(|task| task.idle) {
                continue;
            }
            let once = task.and_then(|task| task.once.as_deref());
            let Some(result) = stoker_model::observe::task_result(snapshot, unit, name, once, key) else {
                continue;
            };
            if matches!(result.state, TaskState::Done | TaskState::Waiting) {
                continue;
            }
            causes.push(Cause {
                cause: format!("task {name} is {:?}{}", result.state, because(&result.reason)).to_lowercase(),
                evidence: self.tail(&service_name(unit, &format!("t.{name}"))).await,
                fix: if result.state == TaskState::Bad {
                    format!("stoker restart {unit}/{name}")
                } else {
                    String::new()
                },
                code: String::new(),
            });
        }
        Ok(())
    }

    async fn tail(&self, name: &str) -> Vec<String> {
        let text = self.supervisor.log_tail(name, TAIL).await.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].iter().map(|l| (*l).to_owned()).collect()
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

fn state_word(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Stopped => "stopped",
        ServiceState::Starting => "starting",
        ServiceState::Ready => "ready",
        ServiceState::Unready => "not ready",
        ServiceState::Failed => "failed",
    }
}
