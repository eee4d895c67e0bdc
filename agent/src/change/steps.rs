//! The steps of verbs by name, so that a test can stop the agent at each. Must do nothing else.

use crate::api::types::Write;

/// Before and after a verb's commit.
pub(super) fn of(what: &Write) -> (&'static str, &'static str) {
    match what {
        Write::Deploy { .. } => ("agent.deploy.before-commit", "agent.deploy.committed"),
        Write::AddUnit { .. } => ("agent.add-unit.before-commit", "agent.add-unit.committed"),
        Write::RemoveUnit { .. } => ("agent.remove-unit.before-commit", "agent.remove-unit.committed"),
        Write::RemoveApplication { .. } => {
            ("agent.remove-application.before-commit", "agent.remove-application.committed")
        }
        Write::Integrate { .. } => ("agent.integrate.before-commit", "agent.integrate.committed"),
        Write::RemoveRelation { .. } => {
            ("agent.remove-relation.before-commit", "agent.remove-relation.committed")
        }
        Write::AttachResource { .. } => ("agent.attach.before-commit", "agent.attach.committed"),
        Write::PinResource { .. } | Write::UnpinResource { .. } | Write::RemoveResource { .. } => {
            ("agent.revisions.before-commit", "agent.revisions.committed")
        }
        Write::Refresh { .. } => ("agent.refresh.before-commit", "agent.refresh.committed"),
        Write::Config { .. } | Write::Expose { .. } | Write::Unexpose { .. } => {
            ("agent.config.before-commit", "agent.config.committed")
        }
        Write::Rollback { .. } => ("agent.rollback.before-commit", "agent.rollback.committed"),
        Write::RolloutNow { .. }
        | Write::RolloutPause { .. }
        | Write::RolloutResume { .. }
        | Write::RolloutAbort { .. } => ("agent.rollout.before-commit", "agent.rollout.committed"),
        Write::Run { .. } => ("agent.run.before-commit", "agent.run.committed"),
        Write::Stop { .. } => ("agent.stop-unit.before-commit", "agent.stop-unit.committed"),
        Write::Start { .. } => ("agent.start-unit.before-commit", "agent.start-unit.committed"),
        Write::Restart { .. } => ("agent.restart.before-commit", "agent.restart.committed"),
        Write::DestroyKept { .. } => ("agent.destroy-kept.before-commit", "agent.destroy-kept.committed"),
    }
}
