//! A NameNode over HTTP: its JMX and WebHDFS, and the folders that are asked for there. Owns which answers mean "not
//! yet"; decides nothing else.

mod folder;

use std::fmt::Write as _;

use anyhow::{Context, bail};
use serde_json::Value;

pub use self::folder::Folder;
use crate::http;

/// A NameNode's HTTP side.
#[derive(Debug, Clone)]
pub struct NameNode {
    /// `http://HOST:PORT`.
    pub url: String,
    /// Whom WebHDFS calls come from.
    pub user: String,
}

/// Why a call has no result.
#[derive(Debug)]
pub enum Failure {
    /// It may pass: starting, safe mode, over quota, not reachable.
    Later(String),
    /// No such file.
    Absent,
    /// It will not pass by itself.
    Bad(anyhow::Error),
}

/// Exceptions of HDFS that pass.
const PASSING: [&str; 6] = [
    "SafeModeException",
    "RetriableException",
    "StandbyException",
    "NSQuotaExceededException",
    "DSQuotaExceededException",
    "ServerNotYetStartedException",
];

impl NameNode {
    /// The attributes of a JMX bean, as `Hadoop:service=NameNode,name=NameNodeInfo`.
    pub fn bean(&self, name: &str) -> anyhow::Result<Value> {
        let (status, text) = http::get(&format!("{}/jmx?qry={name}", self.url))?;
        if status != 200 {
            bail!("the NameNode answers {status}");
        }
        let answer: Value = serde_json::from_str(&text).context("cannot read the NameNode's JMX")?;
        answer.pointer("/beans/0").cloned().with_context(|| format!("the NameNode has no JMX bean {name}"))
    }

    /// One attribute of a JMX bean, without asking for the others.
    pub fn attribute(&self, bean: &str, attribute: &str) -> anyhow::Result<Value> {
        let (status, text) = http::get(&format!("{}/jmx?get={bean}::{attribute}", self.url))?;
        let answer: Value =
            serde_json::from_str(&text).with_context(|| format!("the NameNode answers {status}"))?;
        let value = answer.pointer(&format!("/beans/0/{attribute}")).cloned();
        value.with_context(|| format!("the NameNode has no {attribute} in {bean} yet"))
    }

    /// Whether the image and its edits were loaded.
    pub fn loaded(&self) -> anyhow::Result<bool> {
        let (status, text) = http::get(&format!("{}/startupProgress", self.url))?;
        let answer: Value =
            serde_json::from_str(&text).with_context(|| format!("the NameNode answers {status}"))?;
        let phases = answer["phases"].as_array().context("the NameNode tells no phases of its start")?;
        Ok(phases.iter().any(|phase| phase["name"] == "LoadingEdits" && phase["status"] == "COMPLETE"))
    }

    /// A WebHDFS GET.
    pub fn ask(&self, path: &str, operation: &str) -> Result<Value, Failure> {
        judge(http::get(&self.address(path, operation, &[])))
    }

    /// A WebHDFS PUT.
    pub fn put(&self, path: &str, operation: &str, with: &[(&str, &str)]) -> Result<Value, Failure> {
        judge(http::put(&self.address(path, operation, with), ""))
    }

    fn address(&self, path: &str, operation: &str, with: &[(&str, &str)]) -> String {
        let mut url = format!("{}/webhdfs/v1{}?op={operation}", self.url, encode(path, b"/"));
        for (name, value) in with.iter().chain([&("user.name", self.user.as_str())]) {
            url.push('&');
            url.push_str(name);
            url.push('=');
            url.push_str(&encode(value, b""));
        }
        url
    }
}

fn judge(answer: anyhow::Result<(u16, String)>) -> Result<Value, Failure> {
    let (status, text) = answer.map_err(|error| Failure::Later(format!("{error:#}")))?;
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    if status == 200 {
        return Ok(body);
    }
    let remote = &body["RemoteException"];
    let exception = remote["exception"].as_str().unwrap_or_default();
    let message = remote["message"].as_str().unwrap_or_default().lines().next().unwrap_or_default();
    let says = format!("HDFS answers {status} {exception} {message}");
    let says = says.trim().to_owned();
    match exception {
        "FileNotFoundException" => Err(Failure::Absent),
        // While the NameNode starts it answers 403 or 503 without any exception.
        "" => Err(Failure::Later(says)),
        passing if PASSING.contains(&passing) => Err(Failure::Later(says)),
        _ if message.contains("SafeMode") || message.contains("safe mode") => Err(Failure::Later(says)),
        _ => Err(Failure::Bad(anyhow::anyhow!(says))),
    }
}

fn encode(text: &str, keep: &[u8]) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(status: u16, exception: &str) -> &'static str {
        let body = json!({"RemoteException": {"exception": exception, "message": "m\nat x"}}).to_string();
        match judge(Ok((status, body))) {
            Ok(_) => "ok",
            Err(Failure::Later(_)) => "later",
            Err(Failure::Absent) => "absent",
            Err(Failure::Bad(_)) => "bad",
        }
    }

    #[test]
    fn what_passes_and_what_does_not() {
        assert_eq!(judged(200, ""), "ok");
        assert_eq!(judged(403, "SafeModeException"), "later");
        assert_eq!(judged(403, "AccessControlException"), "bad");
        assert_eq!(judged(403, "NSQuotaExceededException"), "later");
        assert_eq!(judged(404, "FileNotFoundException"), "absent");
        assert!(matches!(judge(Ok((403, "<html>".into()))), Err(Failure::Later(_))));
        assert!(matches!(judge(Err(anyhow::anyhow!("refused"))), Err(Failure::Later(_))));
    }

    #[test]
    fn addresses_are_encoded() {
        let node = NameNode { url: "http://h:1".into(), user: "a b".into() };
        assert_eq!(
            node.address("/x y/ä", "MKDIRS", &[("permission", "1777")]),
            "http://h:1/webhdfs/v1/x%20y/%C3%A4?op=MKDIRS&permission=1777&user.name=a%20b"
        );
    }
}
