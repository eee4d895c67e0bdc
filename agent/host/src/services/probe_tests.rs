//! Probes against real sockets, logs and commands.

use std::io::Write as _;
use std::sync::LazyLock;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn probe(value: Value) -> Probe {
    serde_json::from_value(value).unwrap()
}

static EMPTY: BTreeMap<String, String> = BTreeMap::new();

static NONE: LazyLock<Output> = LazyLock::new(|| Output::File("/none".into()));

fn context(log: &Output) -> ProbeContext<'_> {
    let timeout = Duration::from_secs(10);
    ProbeContext { log, log_from: 0, timeout, headers: &EMPTY, env: &EMPTY, user: None, shim: None }
}

/// Answers one request and returns what was asked.
async fn serve(answer: String) -> (String, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.windows(4).any(|w| w == b"\r\n\r\n") {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).await.unwrap();
            asked.extend_from_slice(&buffer[..count]);
        }
        let _ = stream.write_all(answer.as_bytes()).await;
        String::from_utf8(asked).unwrap()
    });
    (url, task)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn http_answers_are_picked() {
    let (url, asked) = serve(ok(r#"{"beans":[{"LiveNodes":"{\"h1\":{\"n\":3}}"}]}"#)).await;
    let headers = BTreeMap::from([("Authorization".to_owned(), "token t".to_owned())]);
    let ctx = ProbeContext { headers: &headers, ..context(&NONE) };
    let asking = probe(json!({"http": url, "pointer": "/beans/0/LiveNodes/h1/n"}));
    assert_eq!(ask(&asking, &ctx).await.unwrap(), json!(3));
    assert!(asked.await.unwrap().contains("authorization: token t"));
}

#[tokio::test]
async fn http_failures_are_told_apart() {
    let ctx = context(&NONE);
    let (url, _) = serve("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n".into()).await;
    let failure = ask(&probe(json!({ "http": url })), &ctx).await.unwrap_err();
    assert!(matches!(&failure, ProbeFailure::Status { status, .. } if status == "302"), "{failure}");
    let (url, _) = serve(ok("<html>")).await;
    let failure = ask(&probe(json!({"http": url, "pointer": "/a"})), &ctx).await.unwrap_err();
    assert!(matches!(failure, ProbeFailure::Answer { .. }));
    let (url, _) = serve(ok("<html>")).await;
    assert_eq!(ask(&probe(json!({ "http": url })), &ctx).await.unwrap(), json!(true));
    let (url, _) = serve(ok(&format!("\"{}\"", "x".repeat(BODY)))).await;
    let failure = ask(&probe(json!({ "http": url })), &ctx).await.unwrap_err();
    assert!(failure.to_string().contains("4 MiB"), "{failure}");
}

#[tokio::test]
async fn tcp_and_silence() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ctx = ProbeContext { timeout: Duration::from_millis(50), ..context(&NONE) };
    assert_eq!(ask(&probe(json!({ "tcp": address })), &ctx).await.unwrap(), json!(true));
    let silent = probe(json!({"http": format!("http://{address}/")}));
    assert!(matches!(ask(&silent, &ctx).await.unwrap_err(), ProbeFailure::Timeout(_)));
    drop(listener);
    let gone = ask(&probe(json!({ "tcp": address })), &context(&NONE)).await.unwrap_err();
    assert!(matches!(gone, ProbeFailure::Unreachable { .. }));
}

#[tokio::test]
async fn the_log_counts_from_the_newest_run() {
    let mut log = tempfile::NamedTempFile::new().unwrap();
    log.write_all(b"old: started\n").unwrap();
    let from = log.as_file().metadata().unwrap().len();
    let path = log.path().to_owned();
    let output = Output::File(path.clone());
    let ctx = ProbeContext { log_from: from, ..context(&output) };
    let started = probe(json!({"log": "started$"}));
    assert!(matches!(ask(&started, &ctx).await.unwrap_err(), ProbeFailure::NoLine(_)));
    log.write_all(b"new: started\n").unwrap();
    assert_eq!(ask(&started, &ctx).await.unwrap(), json!("new: started"));
    // Shorter than the offset: the log was rotated under the run.
    log.as_file().set_len(0).unwrap();
    std::fs::write(&path, b"started\n").unwrap();
    assert_eq!(ask(&started, &ctx).await.unwrap(), json!("started"));
    assert!(matches!(ask(&probe(json!({"log": "("})), &ctx).await.unwrap_err(), ProbeFailure::Bad(_)));
}

#[tokio::test]
async fn commands_answer_by_their_last_line() {
    let ctx = context(&NONE);
    let sh = |script: &str| probe(json!({"exec": ["/bin/sh", "-c", script], "pointer": "/n"}));
    assert_eq!(ask(&sh(r#"echo noise; echo '{"n":1}'"#), &ctx).await.unwrap(), json!(1));
    let failure = ask(&sh("exit 3"), &ctx).await.unwrap_err();
    assert!(failure.to_string().contains("exit code 3"), "{failure}");
}
