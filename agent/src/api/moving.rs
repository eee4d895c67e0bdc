//! Builds as streams of bytes: out to a file or another host, and in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream as streams};
use serde::Deserialize;

use super::extract::{Path, Query};
use super::stream;
use super::types::Progress;
use crate::core::{Core, arriving};
use crate::problem::Problem;

/// How long the rest of a body that is refused is read away, so that its sender hears why.
const FAREWELL: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Since {
    /// A build that the receiver has.
    since: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct By {
    /// The charm that reads the facts.
    charm: Option<String>,
}

pub(super) async fn export(
    State(core): State<Arc<Core>>,
    Path(digest): Path<String>,
    Query(since): Query<Since>,
) -> Result<Response, Problem> {
    let pieces = core.export_build(&digest, since.since.as_deref())?;
    let body = Body::from_stream(streams::unfold(pieces, |mut pieces| async {
        pieces.recv().await.map(|piece| (piece, pieces))
    }));
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

pub(super) async fn import(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    Query(by): Query<By>,
    body: Body,
) -> Result<Response, Problem> {
    let (pieces, arriving) = arriving();
    tokio::spawn(async move {
        let mut body = body.into_data_stream();
        while let Some(piece) = body.next().await {
            if pieces.send(piece.map_err(io::Error::other)).await.is_err() {
                let rest = async { while body.next().await.is_some_and(|piece| piece.is_ok()) {} };
                let _ = tokio::time::timeout(FAREWELL, rest).await;
                return;
            }
        }
    });
    let work = |progress| async move { core.import_build(arriving, by.charm.as_deref(), &progress).await };
    stream::run(&headers, work, Progress::Done).await
}
