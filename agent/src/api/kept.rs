//! Kept data of removed units. Destroying it is a change.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;

use super::extract::Path;
use super::types::Kept;
use crate::core::Core;
use crate::problem::Problem;

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    Path(model): Path<String>,
) -> Result<Answer<Vec<Kept>>, Problem> {
    Ok(Answer(core.kept(&model).await?))
}
