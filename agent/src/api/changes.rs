//! Changes: every write is one, and can be followed.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::caller::Caller;
use super::extract::{Json, Path, Query};
use super::stream;
use super::types::{ChangeStatus, Progress, WriteRequest};
use crate::core::Core;
use crate::problem::Problem;

/// How long an answer may be held back.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    /// Milliseconds.
    wait: Option<u64>,
}

impl Wait {
    pub(super) fn duration(&self) -> Option<Duration> {
        self.wait.map(Duration::from_millis)
    }
}

/// What `settled` is asked about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settled {
    app: Option<String>,
    wait: Option<u64>,
}

pub(super) async fn write(
    State(core): State<Arc<Core>>,
    Path(model): Path<String>,
    caller: Caller,
    headers: HeaderMap,
    Json(request): Json<WriteRequest>,
) -> Result<Response, Problem> {
    let work = |progress| async move {
        let noted = (!request.preview).then(|| request.command.clone());
        let done = core.write(&model, request, &caller, &progress).await;
        if let (Some(command), Err(problem)) = (noted, &done) {
            core.audit.note(&caller, &command, Some(&problem.code));
        }
        done
    };
    stream::run(&headers, work, Progress::Reply).await
}

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    Path(model): Path<String>,
) -> Result<Answer<Vec<ChangeStatus>>, Problem> {
    Ok(Answer(core.changes(&model)?))
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    Path((model, n)): Path<(String, u64)>,
    Query(wait): Query<Wait>,
) -> Result<Answer<ChangeStatus>, Problem> {
    Ok(Answer(core.change(&model, n, wait.duration()).await?))
}

pub(super) async fn settled(
    State(core): State<Arc<Core>>,
    Path(model): Path<String>,
    Query(asked): Query<Settled>,
) -> Result<Answer<ChangeStatus>, Problem> {
    let wait = asked.wait.map(Duration::from_millis);
    Ok(Answer(core.settle(&model, asked.app.as_deref(), wait).await?))
}
