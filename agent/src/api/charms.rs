//! The charms that `deploy NAME` finds, and what their recipes make.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;

use super::extract::{Path, Query};
use super::types::RecipeDoc;
use crate::core::Core;
use crate::problem::Problem;

pub(super) async fn list(State(core): State<Arc<Core>>) -> Result<Answer<Value>, Problem> {
    Ok(Answer(core.charms()))
}

pub(super) async fn recipes(State(core): State<Arc<Core>>) -> Result<Answer<Vec<RecipeDoc>>, Problem> {
    Ok(Answer(core.recipes()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    resource: Option<String>,
}

pub(super) async fn versions(
    State(core): State<Arc<Core>>,
    Path(charm): Path<String>,
    Query(of): Query<Of>,
) -> Result<Answer<Vec<String>>, Problem> {
    Ok(Answer(core.recipe_versions(&charm, of.resource.as_deref()).await?))
}
