//! The CLI's way to the agent: HTTP over its socket. Owns how an answer becomes a document or a [`Problem`]; must
//! not print.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::access::COMMAND;
use crate::problem::{Problem, codes};
use crate::settings::Paths;
use crate::settings::paths::SocketPath;

/// A connection to the agent of one folder.
pub(crate) struct Client {
    http: reqwest::Client,
    paths: Paths,
    model: String,
    // The socket's folder is held open as long as the client may connect.
    way: SocketPath,
}

impl Client {
    /// The way to the agent; fails where there can be none.
    pub(crate) fn new(paths: &Paths, model: &str, command: &str) -> Result<Self, Problem> {
        let way = SocketPath::of(&paths.socket).map_err(|error| unreachable(paths, &error.to_string()))?;
        let command: String = command.chars().filter(|c| !c.is_control()).take(1024).collect();
        let said = HeaderValue::from_bytes(command.as_bytes())
            .map(|value| (HeaderName::from_static(COMMAND), value));
        let said: HeaderMap = said.into_iter().collect();
        let http = reqwest::Client::builder()
            .unix_socket(way.path())
            .default_headers(said)
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| Problem::internal("cannot make an HTTP client", &error))?;
        Ok(Self { http, paths: paths.clone(), model: model.to_owned(), way })
    }

    /// `/v1/PARTS…`.
    pub(crate) fn root(parts: &[&str]) -> Url {
        Self::url(&["v1"], parts)
    }

    /// `/v1/models/MODEL/PARTS…`.
    pub(crate) fn at(&self, parts: &[&str]) -> Url {
        Self::url(&["v1", "models", &self.model], parts)
    }

    fn url(first: &[&str], parts: &[&str]) -> Url {
        #[allow(clippy::expect_used, reason = "a literal that is a URL; parsed once per request")]
        let mut url = Url::parse("http://stoker/").expect("a URL");
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(first).extend(parts);
        }
        url
    }

    /// GETs one document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, Problem> {
        let answer = self.send(self.http.request(Method::GET, url)).await?;
        self.read(answer).await
    }

    /// POSTs a document and reads one.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &impl Serialize,
    ) -> Result<T, Problem> {
        let answer = self.send(self.http.request(Method::POST, url).json(body)).await?;
        self.read(answer).await
    }

    /// GETs lines of JSON.
    pub(crate) async fn lines(&self, url: Url) -> Result<Lines, Problem> {
        let answer = self.send(self.http.request(Method::GET, url)).await?;
        Ok(Lines::new(answer, &self.paths))
    }

    /// GETs an answer that is read piece by piece.
    pub(crate) async fn stream(&self, url: Url) -> Result<Response, Problem> {
        self.send(self.http.request(Method::GET, url)).await
    }

    /// POSTs a document and reads lines of JSON.
    pub(crate) async fn post_lines(&self, url: Url, body: &impl Serialize) -> Result<Lines, Problem> {
        let request = self.http.request(Method::POST, url).json(body).header("accept", "application/jsonl");
        Ok(Lines::new(self.send(request).await?, &self.paths))
    }

    /// POSTs bytes as they come and reads lines of JSON.
    pub(crate) async fn post_bytes(&self, url: Url, body: reqwest::Body) -> Result<Lines, Problem> {
        let request = self.http.request(Method::POST, url).body(body).header("accept", "application/jsonl");
        Ok(Lines::new(self.send(request).await?, &self.paths))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Problem> {
        let answer = request.send().await.map_err(|error| self.failed(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.bytes().await.unwrap_or_default();
        Err(serde_json::from_slice::<Problem>(&body).unwrap_or_else(|_| Problem {
            status: status.as_u16(),
            ..Problem::new(codes::INTERNAL, format!("the agent answered {status}"))
        }))
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response) -> Result<T, Problem> {
        let body = answer.bytes().await.map_err(|error| self.failed(&error))?;
        serde_json::from_slice(&body).map_err(|error| {
            Problem::new(codes::INTERNAL, "cannot understand the agent's answer")
                .evidence(error.to_string())
                .fix("use the `stoker` of the agent's version (`stoker version`)")
        })
    }

    fn failed(&self, error: &reqwest::Error) -> Problem {
        if error.is_connect() {
            // The chain of the HTTP client does not say which error it was: ask the kernel once more.
            let denied = std::os::unix::net::UnixStream::connect(self.way.path())
                .err()
                .filter(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
            if let Some(error) = denied {
                return Problem::new(
                    codes::NOT_ALLOWED,
                    format!("cannot use the agent's socket `{}`: {error}", self.paths.socket.display()),
                )
                .fix("become a member of the group `stoker`, or ask as root");
            }
        }
        unreachable(&self.paths, &cause(error))
    }
}

/// The last error of the chain: what the kernel said, without the HTTP client's words around it.
fn cause(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn unreachable(paths: &Paths, why: &str) -> Problem {
    let fix = if paths.local {
        format!("stoker agent --dir {}", paths.root.display())
    } else {
        "systemctl start stoker, or name the agent's folder by --dir or STOKER_DIR".to_owned()
    };
    Problem::new(codes::UNREACHABLE, format!("cannot reach the agent at `{}`", paths.socket.display()))
        .evidence(why)
        .fix(fix)
}

/// An answer that comes line by line.
pub(crate) struct Lines {
    answer: Response,
    buffer: Vec<u8>,
    paths: Paths,
}

impl Lines {
    fn new(answer: Response, paths: &Paths) -> Self {
        Self { answer, buffer: Vec::new(), paths: paths.clone() }
    }

    /// The next line's document; `None` at the end.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Problem> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(|error| {
                    Problem::new(codes::INTERNAL, "cannot understand the agent's answer")
                        .evidence(error.to_string())
                });
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                Err(error) => return Err(unreachable(&self.paths, &cause(&error))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_part_of_the_path() {
        assert_eq!(Client::root(&["builds", "b3:a/../b"]).path(), "/v1/builds/b3:a%2F..%2Fb");
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable_with_a_fix() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::resolve(Some(dir.path()));
        let client = Client::new(&paths, "default", "stoker").unwrap();
        let problem = client.get::<serde_json::Value>(client.at(&["status"])).await.unwrap_err();
        assert_eq!(problem.exit_code(), 7, "{problem}");
        assert!(problem.fix.starts_with("stoker agent --dir "), "{problem}");
    }
}
