//! What an application has: resources, releases, options, actions; and why it is as it is.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;

use super::extract::{Path, Query};
use super::types::{OptionDoc, ReleaseDoc, ResourceDoc, Why};
use crate::core::Core;
use crate::problem::Problem;

type Of = Path<(String, String)>;

pub(super) async fn resources(
    State(core): State<Arc<Core>>,
    Path((model, app)): Of,
) -> Result<Answer<Vec<ResourceDoc>>, Problem> {
    Ok(Answer(core.resources(&model, &app)?))
}

pub(super) async fn releases(
    State(core): State<Arc<Core>>,
    Path((model, app)): Of,
) -> Result<Answer<Vec<ReleaseDoc>>, Problem> {
    Ok(Answer(core.releases(&model, &app)?))
}

pub(super) async fn config(
    State(core): State<Arc<Core>>,
    Path((model, app)): Of,
) -> Result<Answer<Vec<OptionDoc>>, Problem> {
    Ok(Answer(core.config(&model, &app)?))
}

pub(super) async fn actions(
    State(core): State<Arc<Core>>,
    Path((model, app)): Of,
) -> Result<Answer<Value>, Problem> {
    Ok(Answer(core.actions_of(&model, &app)?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subject {
    subject: String,
}

pub(super) async fn why(
    State(core): State<Arc<Core>>,
    Path(model): Path<String>,
    Query(asked): Query<Subject>,
) -> Result<Answer<Why>, Problem> {
    Ok(Answer(core.why(&model, &asked.subject).await?))
}
