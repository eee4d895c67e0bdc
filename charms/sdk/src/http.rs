//! Plain HTTP for tasks: small documents from the charm's own services, blocking, without TLS. Owns timeouts and how
//! a PUT follows redirects (with its body, as WebHDFS needs); must not retry: a task does that by its exit status.

use std::time::Duration;

use anyhow::{Context, bail};
use ureq::http::header::LOCATION;
use ureq::{Agent, Body, http};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one exchange may take in whole.
const WHOLE: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 16 << 20;
/// How many redirects are followed.
const REDIRECTS: usize = 5;

/// GET: status and text. Any status is an answer; only a failed exchange is an error.
pub fn get(url: &str) -> anyhow::Result<(u16, String)> {
    exchange("GET", url, None)
}

/// PUT with a body (which may be empty); a redirect is followed by the same PUT.
pub fn put(url: &str, body: impl AsRef<[u8]>) -> anyhow::Result<(u16, String)> {
    exchange("PUT", url, Some(body.as_ref()))
}

/// POST with a body (which may be empty); a redirect is followed by the same POST.
pub fn post(url: &str, body: impl AsRef<[u8]>) -> anyhow::Result<(u16, String)> {
    exchange("POST", url, Some(body.as_ref()))
}

/// DELETE: status and text.
pub fn delete(url: &str) -> anyhow::Result<(u16, String)> {
    exchange("DELETE", url, None)
}

fn exchange(method: &str, url: &str, body: Option<&[u8]>) -> anyhow::Result<(u16, String)> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(WHOLE))
        .build()
        .into();
    let mut url = url.to_owned();
    for _ in 0..=REDIRECTS {
        let answer = once(&agent, method, &url, body).with_context(|| format!("cannot {method} `{url}`"))?;
        let status = answer.status();
        match answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()) {
            Some(to) if status.is_redirection() => url = absolute(&url, to),
            _ => {
                let mut answer = answer.into_body();
                let text = answer.with_config().limit(MAX_ANSWER).lossy_utf8(true).read_to_string();
                return Ok((status.as_u16(), text.with_context(|| format!("cannot read `{url}`"))?));
            }
        }
    }
    bail!("cannot {method} `{url}`: more than {REDIRECTS} redirects")
}

fn once(agent: &Agent, method: &str, url: &str, body: Option<&[u8]>) -> anyhow::Result<http::Response<Body>> {
    let request = http::Request::builder().method(method).uri(url);
    Ok(match body {
        Some(body) => agent.run(request.header("content-type", "application/octet-stream").body(body)?)?,
        None => agent.run(request.body(())?)?,
    })
}

/// A redirect's target: absolute, or a path on the same host.
fn absolute(from: &str, to: &str) -> String {
    if to.contains("://") || !to.starts_with('/') {
        return to.to_owned();
    }
    let host = from.find("://").map_or(0, |at| at + 3);
    let end = from[host..].find('/').map_or(from.len(), |at| host + at);
    format!("{}{to}", &from[..end])
}
