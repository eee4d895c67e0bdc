//! Who asked for what, when and from where.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use stoker_model::record::Origin;
use utoipa::ToSchema;

use super::extract::Query;
use crate::core::{Core, rfc3339};
use crate::problem::Problem;

/// What was asked of the agent once. GET `/v1/events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Event {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// Who: the user at the other end of the socket, or the agent.
    pub by: String,
    /// That user's number; null for the agent.
    pub uid: Option<u32>,
    /// The process that asked, where it was one of this host's.
    pub pid: Option<u32>,
    /// What that process called itself.
    pub program: Option<String>,
    /// The user who had logged in, where that is another one.
    pub login: Option<String>,
    /// The command as typed, values that could be secret left out; or the request.
    pub command: String,
    /// The change that it made.
    pub change: Option<u64>,
    /// Applications that the change wrote to.
    pub apps: Vec<String>,
    /// `done`, `failed CODE` or `refused CODE`.
    pub result: String,
}

impl Event {
    /// One at this time, by this user from there.
    pub(crate) fn at(millis: u64, by: &str, origin: Option<&Origin>) -> Self {
        let origin = origin.cloned();
        Self {
            time: rfc3339(millis),
            by: by.to_owned(),
            uid: origin.as_ref().map(|origin| origin.uid),
            pid: origin.as_ref().and_then(|origin| origin.pid),
            program: origin.as_ref().and_then(|origin| origin.program.clone()),
            login: origin.and_then(|origin| origin.login),
            ..Self::default()
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    app: Option<String>,
    /// Milliseconds since 1970.
    since: Option<u64>,
    most: Option<usize>,
}

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    Query(asked): Query<Asked>,
) -> Result<Answer<Vec<Event>>, Problem> {
    let most = asked.most.unwrap_or(usize::MAX);
    Ok(Answer(core.audit_trail(asked.app.as_deref(), asked.since, most).await?))
}
