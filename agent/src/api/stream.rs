//! Answers that come line by line: progress of long requests, and followed logs. Owns the framing (one JSON
//! document a line); must not know what is done meanwhile.

use std::convert::Infallible;
use std::future::Future;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::api::ProgressSink;
use crate::api::types::Progress;
use crate::problem::{Ended, Problem};

/// The media type of lines of JSON.
pub(super) const JSONL: &str = "application/jsonl";

/// Whether the client asks for lines.
pub(super) fn wants_lines(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|value| value.to_str().is_ok_and(|text| text.contains(JSONL)))
}

/// How a request ends whose answer has begun: told once.
#[derive(Debug, Clone)]
pub(super) struct EndsLater(pub watch::Receiver<Option<Ended>>);

/// One line.
pub(super) fn line(document: &impl Serialize) -> Vec<u8> {
    // The documents are plain data: they cannot fail to serialize. An empty line is no answer, but no lie either.
    let mut bytes = serde_json::to_vec(document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Answers with lines as they come.
pub(super) fn lines(receiver: mpsc::Receiver<Vec<u8>>) -> Response {
    let body = Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|bytes| (Ok::<_, Infallible>(bytes), receiver))
    }));
    ([(header::CONTENT_TYPE, JSONL)], body).into_response()
}

/// Runs `work` apart from the connection. Answers with lines of progress that end in `end`'s line or the problem's when
/// the client wants lines, else with the one document. When a client that reads lines goes away the sink is closed: a
/// build that is being made is given up, anything else goes on.
pub(super) async fn run<T, F>(
    headers: &HeaderMap,
    work: impl FnOnce(ProgressSink) -> F,
    end: fn(Box<T>) -> Progress,
) -> Result<Response, Problem>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let (progress, mut steps) = mpsc::channel::<Progress>(64);
    let task = tokio::spawn(work(progress));
    let joined = async move |task: tokio::task::JoinHandle<Result<T, Problem>>| match task.await {
        Ok(done) => done,
        Err(error) => Err(Problem::internal("cannot finish the request", &error)),
    };
    if !wants_lines(headers) {
        while steps.recv().await.is_some() {}
        return Ok(axum::Json(joined(task).await?).into_response());
    }
    let (sender, receiver) = mpsc::channel(64);
    let (tell, later) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            let step = tokio::select! {
                step = steps.recv() => step,
                () = sender.closed() => None,
            };
            let Some(step) = step else { break };
            let _ = sender.send(line(&step)).await;
        }
        // Nobody blocks on steps that are not read: they are offered, never waited for.
        drop(steps);
        let (last, code) = match joined(task).await {
            Ok(done) => (end(Box::new(done)), None),
            Err(problem) => {
                let code = problem.code.clone();
                (Progress::Problem(Box::new(problem)), Some(code))
            }
        };
        tell.send_replace(Some(Ended(code)));
        let _ = sender.send(line(&last)).await;
    });
    let mut answer = lines(receiver);
    answer.extensions_mut().insert(EndsLater(later));
    Ok(answer)
}
