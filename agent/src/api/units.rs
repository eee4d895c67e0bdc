//! A unit in full, and its plan.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde_json::Value;

use super::extract::Path;
use super::types::UnitDoc;
use crate::core::Core;
use crate::problem::Problem;

type Of = Path<(String, String, String)>;

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    Path((model, app, n)): Of,
) -> Result<Answer<UnitDoc>, Problem> {
    Ok(Answer(core.unit(&model, &format!("{app}/{n}")).await?))
}

pub(super) async fn plan(
    State(core): State<Arc<Core>>,
    Path((model, app, n)): Of,
) -> Result<Answer<Value>, Problem> {
    Ok(Answer(core.plan(&model, &format!("{app}/{n}"))?))
}
