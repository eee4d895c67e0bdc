//! Asking a service how it is: over HTTP, a TCP connection, its log, or a command.
//!
//! Owns the asking; what is asked and how an answer is judged is [`stoker_model::probe`]. It never repeats a question.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Seek as _};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use stoker_model::probe::Probe;

use super::{Output, journal};
use crate::exec::{self, Exec};

/// The largest answer that is read, in bytes.
const BODY: usize = 4 << 20;

/// What a probe is asked with.
#[derive(Debug, Clone)]
pub struct ProbeContext<'a> {
    /// The service's log.
    pub log: &'a Output,
    /// Where in the log its newest run begins (see [`super::Observed::log_from`]).
    pub log_from: u64,
    /// How long one question may take.
    pub timeout: Duration,
    /// The probe's headers, with their secrets resolved.
    pub headers: &'a BTreeMap<String, String>,
    /// The environment of an `exec` probe, whole.
    pub env: &'a BTreeMap<String, String>,
    /// The user of an `exec` probe; `None` is the agent's own.
    pub user: Option<&'a str>,
    /// The `stoker-shim` program; `None` looks beside the running one.
    pub shim: Option<&'a Path>,
}

/// Why there is no answer. The text is short and fit for a status line.
#[derive(Debug, thiserror::Error)]
pub enum ProbeFailure {
    /// The probe itself is wrong.
    #[error("the probe {0}")]
    Bad(String),
    /// It took longer than it may.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Nothing answers.
    #[error("cannot reach `{target}`")]
    Unreachable {
        /// What was asked.
        target: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is not one of success.
    #[error("`{target}` answers {status}")]
    Status {
        /// What was asked.
        target: String,
        /// The HTTP status or exit code.
        status: String,
    },
    /// The answer cannot be used.
    #[error("the answer of `{target}` {reason}")]
    Answer {
        /// What was asked.
        target: String,
        /// What is wrong.
        reason: String,
    },
    /// No line of the log matches yet.
    #[error("no line of the log matches `{0}` yet")]
    NoLine(String),
}

/// Asks once and returns what the probe picks from the answer. A TCP probe answers `true`, a log probe the matching line.
pub async fn ask(probe: &Probe, ctx: &ProbeContext<'_>) -> Result<Value, ProbeFailure> {
    probe.check().map_err(ProbeFailure::Bad)?;
    let answer = tokio::time::timeout(ctx.timeout, answer(probe, ctx));
    let answer = answer.await.map_err(|_| ProbeFailure::Timeout(ctx.timeout))??;
    Ok(pick(probe, answer))
}

async fn answer(probe: &Probe, ctx: &ProbeContext<'_>) -> Result<Value, ProbeFailure> {
    if let Some(url) = &probe.http {
        let wants_json = probe.pointer.is_some() || probe.each.is_some() || probe.op.is_some();
        return http(url, ctx, wants_json).await;
    }
    if let Some(address) = &probe.tcp {
        let connected = tokio::net::TcpStream::connect(address.as_str()).await;
        return connected.map(|_| Value::Bool(true)).map_err(|source| unreachable(address, source));
    }
    if let Some(pattern) = &probe.log {
        return log_line(pattern.clone(), ctx.log, ctx.log_from).await;
    }
    match &probe.exec {
        Some(command) => command_answer(command, ctx).await,
        None => Err(ProbeFailure::Bad("asks nothing".into())),
    }
}

fn unreachable(target: &str, source: impl std::error::Error + Send + Sync + 'static) -> ProbeFailure {
    ProbeFailure::Unreachable { target: target.to_owned(), source: Box::new(source) }
}

/// One client for all probes: no connection is kept, no proxy asked, no redirect followed (a login page is no answer).
fn client() -> Option<&'static reqwest::Client> {
    static CLIENT: OnceLock<Option<reqwest::Client>> = OnceLock::new();
    let build = || {
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        builder.pool_max_idle_per_host(0).build().ok()
    };
    CLIENT.get_or_init(build).as_ref()
}

async fn http(url: &str, ctx: &ProbeContext<'_>, wants_json: bool) -> Result<Value, ProbeFailure> {
    let bad = |reason: &str| ProbeFailure::Answer { target: url.to_owned(), reason: reason.to_owned() };
    let client = client().ok_or_else(|| ProbeFailure::Bad("has no HTTP client here".into()))?;
    let mut request = client.get(url);
    for (name, value) in ctx.headers {
        request = request.header(name, value);
    }
    // The URL may hold what is not for a status line: it is said once, by us.
    let mut response = request.send().await.map_err(|source| unreachable(url, source.without_url()))?;
    if !response.status().is_success() {
        return Err(ProbeFailure::Status {
            target: url.to_owned(),
            status: response.status().as_u16().to_string(),
        });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| unreachable(url, source.without_url()))? {
        if body.len() + chunk.len() > BODY {
            return Err(bad("is longer than 4 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    match serde_json::from_slice(&body) {
        Ok(value) => Ok(value),
        Err(_) if wants_json => Err(bad("is no JSON")),
        Err(_) => Ok(Value::Bool(true)),
    }
}

async fn log_line(pattern: String, log: &Output, from: u64) -> Result<Value, ProbeFailure> {
    let regex = regex::bytes::Regex::new(&pattern)
        .map_err(|_| ProbeFailure::Bad(format!("has `{pattern}`, which is no regular expression")))?;
    let found = match log {
        Output::File(path) => {
            let path = path.clone();
            let search = move || {
                let mut file = std::fs::File::open(&path)?;
                // Rotated since: what the run has said begins at the top.
                let from = if file.metadata()?.len() < from { 0 } else { from };
                file.seek(std::io::SeekFrom::Start(from))?;
                first_match(&regex, std::io::BufReader::new(file))
            };
            tokio::task::spawn_blocking(search).await.map_err(|source| unreachable("log", source))?
        }
        Output::Journal(unit) => match journal::since(unit, from).await {
            Ok(text) => first_match(&regex, text.as_slice()),
            Err(error) => Err(error),
        },
    };
    match found {
        Ok(Some(line)) => Ok(Value::String(line)),
        Ok(None) => Err(ProbeFailure::NoLine(pattern)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ProbeFailure::NoLine(pattern)),
        Err(error) => Err(unreachable("log", error)),
    }
}

fn first_match(
    regex: &regex::bytes::Regex,
    mut log: impl std::io::BufRead,
) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = std::io::Read::take(&mut log, 64 * 1024);
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if regex.is_match(line.strip_suffix(b"\n").unwrap_or(&line)) {
            return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
        }
    }
}

async fn command_answer(command: &[String], ctx: &ProbeContext<'_>) -> Result<Value, ProbeFailure> {
    let Some((program, args)) = command.split_first() else {
        return Err(ProbeFailure::Bad("has an empty command".into()));
    };
    let cmd = Exec {
        program: program.into(),
        args: args.to_vec(),
        env: ctx.env.clone(),
        user: ctx.user.map(str::to_owned),
        deadline: ctx.timeout,
        output_cap: BODY,
        kill_leftovers: true,
        shim: ctx.shim.map(Path::to_owned),
        ..Exec::default()
    };
    let output = exec::run(&cmd).await.map_err(|source| unreachable(program, source))?;
    if output.timed_out {
        return Err(ProbeFailure::Timeout(ctx.timeout));
    }
    if !output.is_success() {
        let status = match (output.status, output.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or(0)),
        };
        return Err(ProbeFailure::Status { target: program.clone(), status });
    }
    let last = output.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(serde_json::from_slice(last).unwrap_or(Value::Bool(true)))
}

/// Like [`Probe::pick`], and where the pointer goes on into a string that holds JSON, that is read.
fn pick(probe: &Probe, answer: Value) -> Value {
    let Some(pointer) = probe.pointer.as_deref().filter(|p| answer.pointer(p).is_none()) else {
        return probe.pick(&answer);
    };
    for (at, _) in pointer.match_indices('/').skip(1) {
        let Some(Value::String(text)) = answer.pointer(&pointer[..at]) else { continue };
        if let Ok(inner) = serde_json::from_str::<Value>(text) {
            return pick(&Probe { pointer: Some(pointer[at..].to_owned()), ..probe.clone() }, inner);
        }
    }
    probe.pick(&answer)
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
