//! Builds: unpacked, immutable, named by digest.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::mpsc;

use super::extract::{Json, Path};
use super::stock::{BuildsUsage, CollectBuilds, CollectedBuilds, VerifyBuilds};
use super::stream;
use super::types::{AddBuild, Build, Progress};
use crate::core::Core;
use crate::problem::Problem;

pub(super) async fn list(State(core): State<Arc<Core>>) -> Result<Answer<Vec<Build>>, Problem> {
    Ok(Answer(core.builds()?))
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    Path(digest): Path<String>,
) -> Result<Answer<Build>, Problem> {
    Ok(Answer(core.build(&digest)?))
}

pub(super) async fn add(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Json(add): Json<AddBuild>,
) -> Result<Response, Problem> {
    let work = |progress| async move { core.add_build(add, &progress).await };
    stream::run(&headers, work, Progress::Done).await
}

pub(super) async fn usage(State(core): State<Arc<Core>>) -> Result<Answer<BuildsUsage>, Problem> {
    Ok(Answer(core.builds_usage().await?))
}

pub(super) async fn collect(
    State(core): State<Arc<Core>>,
    Json(asked): Json<CollectBuilds>,
) -> Result<Answer<CollectedBuilds>, Problem> {
    Ok(Answer(core.collect_builds(asked).await?))
}

pub(super) async fn verify(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Json(asked): Json<VerifyBuilds>,
) -> Result<Response, Problem> {
    let work = |progress| async move { core.verify_builds(asked, &progress).await };
    stream::run(&headers, work, Progress::Verified).await
}

pub(super) async fn inspect(
    State(core): State<Arc<Core>>,
    Json(add): Json<AddBuild>,
) -> Result<Response, Problem> {
    let (progress, mut steps) = mpsc::channel(64);
    let work = async {
        let facts: Value = core.inspect(add, &progress).await?;
        drop(progress);
        Ok(facts)
    };
    let drained = async { while steps.recv().await.is_some() {} };
    let (facts, ()) = tokio::join!(work, drained);
    facts.map(|facts| Answer(facts).into_response())
}
