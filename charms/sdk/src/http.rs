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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread;

    /// Answers as many connections as it has answers; yields what was asked: first line and body.
    fn server(answers: Vec<String>) -> (String, thread::JoinHandle<Vec<(String, String)>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<String> = answers.into_iter().map(|answer| answer.replace("{url}", &url)).collect();
        let handle = thread::spawn(move || {
            let serve = |answer: &String| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut first, mut length) = (String::new(), 0);
                reader.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let line = line.trim().to_ascii_lowercase();
                    if line.is_empty() {
                        break;
                    }
                    if let Some(value) = line.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                (first.trim().to_owned(), String::from_utf8(body).unwrap())
            };
            answers.iter().map(serve).collect()
        });
        (url, handle)
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}")
    }

    #[test]
    fn any_status_is_an_answer() {
        let (url, server) = server(vec![answer("503 Busy", "", "later"), answer("200 OK", "", "{}")]);
        assert_eq!(get(&format!("{url}/a?b=c")).unwrap(), (503, "later".to_owned()));
        assert_eq!(get(&url).unwrap(), (200, "{}".to_owned()));
        assert_eq!(server.join().unwrap()[0].0, "GET /a?b=c HTTP/1.1");
    }

    #[test]
    fn a_put_is_repeated_where_it_is_sent_to() {
        let there = "location: {url}/there?x=1\r\n";
        let (url, server) = server(vec![
            answer("307 Away", there, ""),
            answer("307 Away", "location: /last\r\n", ""),
            answer("201 Made", "", ""),
        ]);
        assert_eq!(put(&format!("{url}/here"), "hello").unwrap().0, 201);
        let asked = server.join().unwrap();
        let lines: Vec<&str> = asked.iter().map(|(line, _)| line.as_str()).collect();
        assert_eq!(lines, ["PUT /here HTTP/1.1", "PUT /there?x=1 HTTP/1.1", "PUT /last HTTP/1.1"]);
        assert!(asked.iter().all(|(_, body)| body == "hello"));
    }

    #[test]
    fn an_empty_put_has_a_length_and_circles_end() {
        let around = || answer("307 Away", "location: /\r\n", "");
        let (url, server) = server((0..=REDIRECTS).map(|_| around()).collect());
        assert!(put(&url, "").unwrap_err().to_string().contains("redirects"));
        assert_eq!(server.join().unwrap().len(), REDIRECTS + 1);
    }

    #[test]
    fn nobody_there() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = get(&format!("http://127.0.0.1:{port}/x")).unwrap_err();
        assert!(error.to_string().contains("cannot GET"), "{error:#}");
        assert!(get("not a url").is_err());
    }
}
