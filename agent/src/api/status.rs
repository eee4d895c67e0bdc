//! The whole of a model at a glance, in Juju's shape.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;

use super::extract::{Path, Query};
use crate::core::Core;
use crate::problem::Problem;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Applications and units, separated by commas; all when absent.
    filter: Option<String>,
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    Path(model): Path<String>,
    Query(asked): Query<Filter>,
) -> Result<Answer<Value>, Problem> {
    let text = asked.filter.unwrap_or_default();
    let filter: Vec<String> = text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Ok(Answer(core.status(&model, &filter)?))
}
