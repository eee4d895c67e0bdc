//! Server-sent events: one whenever the model has a new revision. A hint to ask again, no more.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};

use super::extract::Path;
use crate::core::Core;
use crate::problem::Problem;

pub(super) async fn follow(
    State(core): State<Arc<Core>>,
    Path(model): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let mut revisions = core.events(&model)?;
    // The first event comes at once: what was asked before may be old.
    revisions.mark_changed();
    let events = stream::unfold(revisions, |mut revisions| async {
        revisions.changed().await.ok()?;
        let revision = *revisions.borrow_and_update();
        Some((Ok(Event::default().event("revision").data(revision.to_string())), revisions))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(30))))
}
