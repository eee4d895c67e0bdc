//! The charms that `deploy NAME` finds.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde_json::Value;

use crate::core::Core;
use crate::problem::Problem;

pub(super) async fn list(State(core): State<Arc<Core>>) -> Result<Answer<Value>, Problem> {
    Ok(Answer(core.charms()))
}
