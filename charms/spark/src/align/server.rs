//! Which version an HDFS has, told or asked. Owns the ways to ask a NameNode.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use stoker_charm::http;

const BEAN: &str = "/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo";
/// Where NameNodes have their pages: from Hadoop 3 on, and before.
const PORTS: [u16; 2] = [9870, 50070];

/// The version that a text tells: itself, or what the NameNode at that URL says.
pub(super) fn version(text: &str) -> Result<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            bail!("cannot read `{text}`: give a version such as 3.4.1, or a NameNode's http://HOST:9870/jmx");
        }
        return Ok(text.to_owned());
    };
    let authority = rest.split('/').next().unwrap_or_default();
    match scheme {
        "http" => ask(&format!("http://{authority}")),
        "hdfs" => {
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            let mut asked = PORTS.iter().map(|port| ask(&format!("http://{host}:{port}")));
            let (first, second) = (asked.next(), asked.next());
            match (first, second) {
                (Some(Err(first)), Some(Err(_))) => Err(first).with_context(|| {
                    format!("cannot find the web address of `{text}`: give it as http://HOST:PORT/jmx")
                }),
                (Some(Ok(version)), _) | (_, Some(Ok(version))) => Ok(version),
                _ => bail!("cannot find the web address of `{text}`"),
            }
        }
        _ => bail!("cannot ask `{text}`: a NameNode is asked by http://HOST:PORT/jmx or hdfs://HOST"),
    }
}

fn ask(root: &str) -> Result<String> {
    let (status, text) =
        http::get(&format!("{root}{BEAN}")).with_context(|| format!("cannot ask the NameNode at {root}"))?;
    if status != 200 {
        bail!("cannot ask the NameNode at {root}: it answers {status}");
    }
    read(&text).with_context(|| format!("cannot ask the NameNode at {root}: no NameNode answers there"))
}

fn read(text: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(text).ok()?;
    answer
        .pointer("/beans/0/SoftwareVersion")?
        .as_str()
        .filter(|version| !version.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn versions_are_told_or_asked() {
        assert_eq!(version("3.4.1").unwrap(), "3.4.1");
        for bad in ["new", "ftp://x/", "", "http://127.0.0.1:1/jmx"] {
            assert!(version(bad).is_err(), "{bad}");
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 200];
            let count = stream.read(&mut asked).unwrap();
            let body = r#"{"beans":[{"name":"x","SoftwareVersion":"2.7.4"}]}"#;
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            String::from_utf8_lossy(&asked[..count]).into_owned()
        });
        assert_eq!(version(&format!("http://127.0.0.1:{port}/jmx")).unwrap(), "2.7.4");
        assert!(
            server.join().unwrap().starts_with("GET /jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo ")
        );
    }

    #[test]
    fn other_answers_are_none() {
        for other in ["", "<html>", r#"{"beans":[]}"#, r#"{"beans":[{"SoftwareVersion":""}]}"#] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
