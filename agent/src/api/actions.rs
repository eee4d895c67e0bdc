//! Actions that were asked for.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;

use super::changes::Wait;
use super::extract::{Path, Query};
use super::types::ActionDoc;
use crate::core::Core;
use crate::problem::Problem;

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    Path((model, id)): Path<(String, u64)>,
    Query(wait): Query<Wait>,
) -> Result<Answer<ActionDoc>, Problem> {
    Ok(Answer(core.action(&model, id, wait.duration()).await?))
}
