//! What a Prometheus reads, in the form that it asks for.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use crate::core::Core;
use crate::problem::Problem;

/// `OpenMetrics`.
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What was before it, and what everybody reads.
const OLDER: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn show(State(core): State<Arc<Core>>, headers: HeaderMap) -> Result<Response, Problem> {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let open = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|text| text.contains("application/openmetrics-text"));
    let kind = if open { OPEN } else { OLDER };
    Ok(([(header::CONTENT_TYPE, kind)], core.metrics(open)?).into_response())
}
