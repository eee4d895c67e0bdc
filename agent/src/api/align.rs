//! Alignment: checked before anything is attached, explained once it is. Owns the shapes of both answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::extract::{Json, Path};
use super::stream;
use super::types::Progress;
use crate::core::Core;
use crate::problem::Problem;

/// What POST `/v1/align` takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlignCheck {
    /// SOURCE of the build: absolute file or folder, `recipe:VERSION`, `build:DIGEST`, a link.
    pub source: String,
    /// The charm that judges; the only one that can when absent.
    #[serde(default)]
    pub charm: Option<String>,
    /// What it would run with, by names that the charm knows: a version, an address, or a SOURCE.
    #[serde(default)]
    pub with: BTreeMap<String, String>,
    /// Further jars, absolute paths.
    #[serde(default)]
    pub jars: Vec<String>,
}

/// How a build fits.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Alignment {
    /// The level: `exact`, `older-client`, `java-blocked`, …
    pub level: String,
    /// One sentence.
    pub says: String,
    /// What mends it, or empty.
    pub fix: String,
    /// The client that the build came with, and the one that it would have.
    pub client: BTreeMap<String, String>,
    /// Workload by workload.
    pub works: BTreeMap<String, Works>,
    /// References that do not resolve.
    pub gaps: Vec<Gap>,
    /// How many more gaps there are.
    pub more_gaps: u64,
    /// Seconds that the answer took, without making builds.
    pub seconds: f64,
    /// Whether what was linked was known before.
    pub cached: bool,
}

/// Whether a workload works.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Works {
    /// Works.
    pub ok: bool,
    /// Evidence: `read`, `linked` or `run`.
    pub by: String,
    /// Why not, or empty.
    pub why: String,
}

/// A reference that does not resolve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Gap {
    /// The jar's file name.
    pub jar: String,
    /// The class that refers.
    pub class: String,
    /// What it refers to.
    pub target: String,
    /// Why it does no harm, where that is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub harmless: String,
}

/// How an application is aligned. GET `/v1/models/{model}/applications/{app}/alignment`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Explained {
    /// The application.
    pub app: String,
    /// Its leader, whose plan this is.
    pub unit: String,
    /// Verdicts of the plan.
    pub verdicts: Vec<Value>,
    /// Trees that services run from and that are not a build as it is.
    pub swapped: Vec<Swapped>,
    /// What was run to prove them, by task: state, result, reason.
    pub proofs: BTreeMap<String, Value>,
}

/// Files of a tree that are not its base build's.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Swapped {
    /// The tree.
    pub tree: String,
    /// Files of the base that are left out.
    pub drop: Vec<String>,
    /// Files taken from other builds: their content's digest, the build, its source, the path in it.
    pub taken: BTreeMap<String, BTreeMap<String, String>>,
}

pub(super) async fn check(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Json(asked): Json<AlignCheck>,
) -> Result<Response, Problem> {
    let work = |progress| async move { core.align(asked, &progress).await };
    stream::run(&headers, work, Progress::Aligned).await
}

pub(super) async fn explain(
    State(core): State<Arc<Core>>,
    Path((model, app)): Path<(String, String)>,
) -> Result<Answer<Explained>, Problem> {
    Ok(Answer(core.explain_alignment(&model, &app).await?))
}
