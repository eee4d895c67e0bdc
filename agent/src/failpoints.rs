//! The names of the steps that a test can stop the agent at (see `stoker_host::fs::failpoint`). Owns the list: every
//! step is in it, and everything in it is a step. A test outside of this crate reads this file and kills
//! the agent at each.

/// Every name that is hit in this crate.
pub(crate) const ALL: &[&str] = &[
    "agent.action.claimed",
    "agent.action.ended",
    "agent.action.ready",
    "agent.action.started",
    "agent.action.swept",
    "agent.add-unit.before-commit",
    "agent.add-unit.committed",
    "agent.attach.before-commit",
    "agent.attach.committed",
    "agent.build.before-record",
    "agent.build.ingested",
    "agent.build.recorded",
    "agent.builds.collected",
    "agent.builds.verified",
    "agent.change.inputs",
    "agent.charm.taken",
    "agent.config.before-commit",
    "agent.config.committed",
    "agent.deploy.before-commit",
    "agent.deploy.committed",
    "agent.destroy-kept.aside",
    "agent.destroy-kept.before-commit",
    "agent.destroy-kept.committed",
    "agent.destroy-kept.gone",
    "agent.generation.before-decided",
    "agent.generation.decided",
    "agent.generation.draining",
    "agent.generation.ended",
    "agent.generation.ending",
    "agent.generation.folders-dropped",
    "agent.generation.numbered",
    "agent.generation.stopped-one",
    "agent.integrate.before-commit",
    "agent.integrate.committed",
    "agent.journal.before-write",
    "agent.journal.written",
    "agent.move.begun",
    "agent.move.committed",
    "agent.move.draining",
    "agent.move.folders-dropped",
    "agent.move.published",
    "agent.move.scaled",
    "agent.move.stopped",
    "agent.move.stopped-one",
    "agent.move.swept",
    "agent.plan.done",
    "agent.plan.pending",
    "agent.plan.ran",
    "agent.prepare.bound",
    "agent.prepare.done",
    "agent.prepare.file-written",
    "agent.prepare.folder-bare",
    "agent.prepare.folder-made",
    "agent.prepare.port-chosen",
    "agent.prepare.rendered",
    "agent.prepare.tree-linked",
    "agent.recipe.made",
    "agent.recipe.taken",
    "agent.refresh.before-commit",
    "agent.refresh.committed",
    "agent.remove-application.before-commit",
    "agent.remove-application.committed",
    "agent.remove-relation.before-commit",
    "agent.remove-relation.committed",
    "agent.remove-unit.before-commit",
    "agent.remove-unit.committed",
    "agent.remove.begun",
    "agent.remove.data-moved",
    "agent.remove.folder-gone",
    "agent.remove.journal-gone",
    "agent.remove.keeping",
    "agent.remove.kept",
    "agent.remove.records-gone",
    "agent.remove.stopped",
    "agent.report.before-commit",
    "agent.report.committed",
    "agent.restart.before-commit",
    "agent.restart.committed",
    "agent.reuse.noted",
    "agent.reuse.renamed",
    "agent.reuse.swept",
    "agent.revisions.before-commit",
    "agent.revisions.committed",
    "agent.rollback.before-commit",
    "agent.rollback.committed",
    "agent.rollout.before-commit",
    "agent.rollout.before-step",
    "agent.rollout.committed",
    "agent.rollout.stepped",
    "agent.run.before-commit",
    "agent.run.committed",
    "agent.secret.before-commit",
    "agent.secret.made",
    "agent.service.halted",
    "agent.service.restart-noted",
    "agent.service.restart-stopped",
    "agent.service.started",
    "agent.service.starting",
    "agent.start-unit.before-commit",
    "agent.start-unit.committed",
    "agent.start.before-model",
    "agent.start.locked",
    "agent.start.model-made",
    "agent.start.opened",
    "agent.start.up",
    "agent.stop-unit.before-commit",
    "agent.stop-unit.committed",
    "agent.stop.begun",
    "agent.store.before-commit",
    "agent.store.committed",
    "agent.task.claimed",
    "agent.task.dropped",
    "agent.task.ended",
    "agent.task.recorded",
    "agent.task.started",
    "agent.upload.written",
    "agent.worker.adopted",
    "agent.worker.begun",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::ALL;

    /// The names in the sources below a folder: texts of the form `agent.OPERATION.STEP`.
    fn names(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                names(&path, found);
            } else if path.file_name().is_some_and(|name| name != "failpoints.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let is_name = |part: &&str| {
                    let letters = |c: char| c.is_ascii_lowercase() || c == '-' || c == '.';
                    part.starts_with("agent.") && part.matches('.').count() == 2 && part.chars().all(letters)
                };
                found.extend(text.split('"').filter(is_name).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_step_is_listed_and_everything_listed_is_a_step() {
        let mut found = BTreeSet::new();
        names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let listed: BTreeSet<String> = ALL.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(listed.len(), ALL.len(), "a name is listed twice");
        assert_eq!(found, listed);
        assert!(listed.len() > 60, "the sources were not read");
    }
}
