//! Writing verbs: from what was asked to one change of the model. Inputs that take time (builds, charms) are made
//! first; then, one verb at a time, everything is checked against the newest snapshot and committed at once.

mod applications;
mod draft;
mod exposure;
mod inputs;
mod relations;
mod releases;
mod revisions;
mod running;
mod steps;

use crate::api::caller::Caller;
use crate::api::types::{Write, WriteReply, WriteRequest};
use crate::core::Core;
use crate::core::ProgressSink;
use crate::problem::{Problem, codes};
use stoker_host::fs::failpoint::hit;
use stoker_store::Txn;

pub(crate) use self::applications::scaled;
use self::draft::Draft;
use self::inputs::Inputs;

impl Core {
    /// Carries a write out, or shows what it would do.
    pub(crate) async fn write(
        &self,
        model: &str,
        request: WriteRequest,
        caller: &Caller,
        progress: &ProgressSink,
    ) -> Result<WriteReply, Problem> {
        Self::check_model(model)?;
        // What is made or found for it is not collected before something refers to it.
        let _hold = self.builds.hold("a change");
        let inputs = self.inputs(&request.what, progress).await?;
        self.check_builds(inputs.builds()).await?;
        hit("agent.change.inputs");
        let _turn = self.turn().await;
        let mut draft = Draft::new(&self.snapshot(), &request, caller, self.settings().max_unavailable)?;
        let says = apply(self, &mut draft, &request.what, &inputs)?;
        if let Write::Rollback { app, .. }
        | Write::PinResource { app, .. }
        | Write::UnpinResource { app, .. } = &request.what
        {
            self.check_builds(draft.snapshot.builds_of(app)).await?;
        }
        let mut reply = WriteReply {
            changed: draft.changes_anything() || inputs.destroys,
            says,
            warnings: draft.warnings.clone(),
            actions: draft.actions.clone(),
            ..WriteReply::default()
        };
        draft.check_size()?;
        if request.preview || request.if_token.is_some() {
            let mut preview = crate::unit::simulate(self, &draft.snapshot).await?;
            preview.bytes = inputs.new_bytes;
            preview.changes = reply.changed;
            if request.preview {
                reply.preview = Some(preview);
                return Ok(reply);
            }
            if request.if_token.as_deref() != Some(&preview.token) {
                let title = "cannot apply the change: what it would do is no longer what the preview showed";
                return Err(Problem::new(codes::STALE_TOKEN, title).fix("run it with --preview again"));
            }
        }
        if !reply.changed {
            return Ok(reply);
        }
        reply.change = Some(draft.number());
        let (before, after) = steps::of(&request.what);
        let (number, txn) = draft.finish()?;
        if let Write::DestroyKept { id } = &request.what {
            self.set_kept_aside(id, number)?;
        }
        hit(before);
        let committed = self.commit_change(number, txn).await;
        hit(after);
        if let Write::DestroyKept { id } = &request.what {
            self.end_kept(id, number, committed.is_ok())?;
        }
        committed?;
        tracing::info!(change = number, by = caller.user, "{}", reply.says);
        Ok(reply)
    }

    async fn commit_change(&self, number: u64, txn: Txn) -> Result<(), Problem> {
        let committed =
            self.commit(txn).await.map_err(|e| Problem::internal("cannot commit the change", &e))?;
        let Some(revision) = committed else {
            let title = "cannot commit the change: the model changed at the same moment";
            return Err(Problem::new(codes::CONFLICT, title).fix("run it again"));
        };
        self.note_change(number, revision);
        Ok(())
    }
}

fn apply(core: &Core, draft: &mut Draft, what: &Write, inputs: &Inputs) -> Result<String, Problem> {
    match what {
        Write::Deploy { app, units, config, reuse_data, .. } => {
            applications::deploy(core, draft, inputs, app.as_deref(), units.unwrap_or(1), config, reuse_data)
        }
        Write::AddUnit { app, count, reuse_data } => {
            applications::add_units(core, draft, app, count.unwrap_or(1), reuse_data)
        }
        Write::RemoveUnit { unit, force, destroy_data } => {
            applications::remove_unit(draft, unit, *force, *destroy_data)
        }
        Write::RemoveApplication { app, force, destroy_data } => {
            applications::remove_application(draft, app, *force, *destroy_data)
        }
        Write::Integrate { a, b } => relations::integrate(draft, a, b),
        Write::RemoveRelation { a, b } => relations::remove(draft, a, b.as_deref()),
        Write::AttachResource { app, resource, .. } => releases::attach(draft, inputs, app, resource),
        Write::PinResource { app, resource, revision } => revisions::pin(draft, app, resource, *revision),
        Write::UnpinResource { app, resource } => revisions::unpin(draft, app, resource),
        Write::RemoveResource { app, resource, revision, force } => {
            revisions::remove(draft, app, resource, *revision, *force)
        }
        Write::Refresh { app, .. } => releases::refresh(draft, inputs, app),
        Write::Config { app, set, reset } => releases::configure(draft, app, set, reset),
        Write::Rollback { app, to } => releases::rollback(draft, app, *to),
        Write::RolloutNow { app } => releases::now(draft, app),
        Write::RolloutPause { app } => releases::pause(draft, app, true),
        Write::RolloutResume { app } => releases::pause(draft, app, false),
        Write::RolloutAbort { app } => releases::abort(draft, app),
        Write::Run { units, action, params } => running::run(draft, inputs, units, action, params),
        Write::Expose { app, to } => exposure::expose(draft, app, to),
        Write::Unexpose { app } => exposure::unexpose(draft, app),
        Write::Stop { target } => running::stop(draft, target),
        Write::Start { target } => running::start(draft, target),
        Write::Restart { target } => running::restart(draft, target),
        Write::DestroyKept { id } => Ok(format!("destroyed the kept data {id}")),
    }
}
