//! Verifying builds, and what the agent adds to a repair: recipes that make a build again.

use std::sync::Arc;

use stoker_host::builds::{BuildError, Check, Checked, Damage, Record};
use stoker_host::fs::failpoint::hit;
use stoker_model::ids::Digest;

use super::Core;
use super::builds::{Steps, refused};
use super::room::what;
use crate::api::ProgressSink;
use crate::api::stock::{BuildDamage, VerifiedBuilds, VerifyBuilds};
use crate::problem::Problem;

impl Core {
    /// Verifies builds, and repairs them where that is asked for.
    pub(crate) async fn verify_builds(
        &self,
        asked: VerifyBuilds,
        progress: &ProgressSink,
    ) -> Result<VerifiedBuilds, Problem> {
        let mut only = Vec::new();
        for text in &asked.only {
            only.push(self.find_build_or_tree(text)?);
        }
        let what_to = Check { only, repair: asked.repair };
        let mut checked = self.check(&what_to, progress).await?;
        if asked.repair && self.make_again(&checked, progress).await {
            // What a recipe brought back is linked where it belongs by another look.
            let again = self.check(&what_to, progress).await?;
            for damage in checked.damage.iter_mut().filter(|damage| damage.repaired.is_none()) {
                let still =
                    again.damage.iter().any(|other| other.path == damage.path && other.repaired.is_none());
                if !still {
                    damage.repaired = Some("made again by its recipe".into());
                    damage.remedy = None;
                }
            }
        }
        hit("agent.builds.verified");
        let records = self.builds.records().unwrap_or_default();
        let found: Vec<BuildDamage> =
            checked.damage.iter().map(|damage| document(damage, &records)).collect();
        let left = found.iter().filter(|damage| damage.repaired.is_empty()).count() as u64;
        if !found.is_empty() {
            tracing::warn!(found = found.len(), left, repair = asked.repair, "builds are damaged");
        }
        Ok(VerifiedBuilds {
            blobs: checked.blobs,
            bytes: checked.bytes,
            trees: checked.trees,
            builds: checked.builds,
            damage: found,
            left,
        })
    }

    async fn check(&self, what_to: &Check, progress: &ProgressSink) -> Result<Checked, Problem> {
        let (builds, what_to) = (Arc::clone(&self.builds), what_to.clone());
        let steps = Steps(progress.clone(), "verifying");
        tokio::task::spawn_blocking(move || builds.check(&what_to, &steps))
            .await
            .map_err(|e| Problem::internal("cannot verify builds", &e))?
            .map_err(|e| refused(&e))
    }

    /// A build with a record, or a tree that has none, such as a charm's.
    fn find_build_or_tree(&self, text: &str) -> Result<Digest, Problem> {
        self.find_record(text).map(|record| record.digest).or_else(|problem| {
            let digest: Option<Digest> = text.parse().ok().or_else(|| Digest::from_hex(text).ok());
            digest.filter(|digest| self.builds.manifest(digest).is_ok()).ok_or(problem)
        })
    }

    /// Runs the recipes of builds that are still not whole; whether any ran to its end.
    async fn make_again(&self, checked: &Checked, progress: &ProgressSink) -> bool {
        let mut broken: Vec<&Digest> = checked
            .damage
            .iter()
            .filter(|damage| damage.repaired.is_none())
            .flat_map(|damage| &damage.builds)
            .collect();
        broken.sort();
        broken.dedup();
        let mut made = false;
        for digest in broken {
            let Ok(Some(record)) = self.builds.record(digest) else { continue };
            if !record.source.starts_with("recipe:") {
                continue;
            }
            for charm in self.charms_of(&record).await {
                let charm = std::slice::from_ref(&charm);
                match self.make_once_more(&record, charm, progress).await {
                    Ok(_) => {
                        made = true;
                        break;
                    }
                    Err(problem) => {
                        tracing::warn!(source = record.source, "a recipe did not help: {}", problem.title);
                    }
                }
            }
        }
        made
    }

    /// The charms whose recipe may have made a build: those that use it first, then those that know its product.
    async fn charms_of(&self, record: &Record) -> Vec<super::LoadedCharm> {
        let snapshot = self.snapshot();
        let product = record.facts.get("product").and_then(serde_json::Value::as_str).unwrap_or_default();
        let users = snapshot.revisions.iter().filter(|(_, revision)| revision.build == record.digest);
        let mut names: Vec<String> = users
            .filter_map(|((app, ..), _)| Some(snapshot.newest_release(app)?.charm_name.clone()))
            .collect();
        names.push(product.to_owned());
        let mut charms: Vec<super::LoadedCharm> = Vec::new();
        for name in names {
            if charms.iter().all(|charm| charm.description.name != name)
                && let Ok(charm) = self.take_charm(&name).await
                && charm.description.programs.recipe.is_some()
            {
                charms.push(charm);
            }
        }
        charms
    }
}

impl Core {
    /// At the start, after an unclean stop: builds that are not whole are repaired from their sources before a unit
    /// asks for them.
    pub(super) fn mend_lost(builds: &stoker_host::builds::Builds) -> Result<(), BuildError> {
        if builds.lost().is_empty() {
            return Ok(());
        }
        let broken = builds.broken()?;
        if broken.is_empty() {
            return Ok(());
        }
        let checked = builds.check(&Check { only: broken, repair: true }, &())?;
        for damage in &checked.damage {
            let (repaired, remedy) = (damage.repaired.as_deref(), damage.remedy.as_deref());
            tracing::warn!(
                path = damage.path,
                repaired,
                remedy,
                "an unclean stop left this: {}",
                damage.detail
            );
        }
        Ok(())
    }
}

fn document(damage: &Damage, records: &[Record]) -> BuildDamage {
    let name = |digest: &Digest| {
        let record = records.iter().find(|record| record.digest == *digest);
        format!("{} {}", what(record), digest.short())
    };
    BuildDamage {
        path: damage.path.clone(),
        detail: damage.detail.clone(),
        builds: damage.builds.iter().map(name).collect(),
        repaired: damage.repaired.clone().unwrap_or_default(),
        remedy: damage.remedy.clone().unwrap_or_default(),
    }
}
