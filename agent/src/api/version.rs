//! The agent itself: what runs, the API's own document, and its end.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde_json::Value;

use super::openapi;
use super::types::Version;
use crate::core::Core;
use crate::problem::Problem;

pub(super) async fn show(State(core): State<Arc<Core>>) -> Result<Answer<Version>, Problem> {
    Ok(Answer(core.version()))
}

pub(super) async fn document() -> Answer<Value> {
    Answer(openapi::document())
}

pub(super) async fn down(State(core): State<Arc<Core>>) -> Result<Answer<Value>, Problem> {
    core.down().await?;
    Ok(Answer(serde_json::json!({ "down": true })))
}
