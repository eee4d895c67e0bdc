//! The journal's lines of a unit, by `journalctl`: the end of them, those since a moment, and those to come.
//!
//! Owns the child that reads. It must not know what a service is.

#![allow(clippy::disallowed_methods, reason = "journalctl is started here")]

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::exec::{self, Exec};

/// How long one reading may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// No more lines than this are read to find an end.
const LINES: u32 = 10_000;
/// The most that one reading keeps, in bytes.
const CAP: usize = 16 << 20;

/// The last `bytes` that the unit's processes wrote, from the beginning of a line; of one run where it is given.
pub(super) async fn tail(unit: &str, run: Option<&str>, bytes: u64) -> io::Result<String> {
    // What was written a moment ago may still be on its way. Where that cannot be waited for it is not there yet.
    let _ = read(vec!["--sync".into()]).await;
    let mut args = vec!["--lines".to_owned(), LINES.to_string(), format!("_SYSTEMD_UNIT={unit}")];
    args.extend(run.map(|run| format!("_SYSTEMD_INVOCATION_ID={run}")));
    let text = String::from_utf8_lossy(&read(args).await?).into_owned();
    Ok(end_of(&text, bytes).to_owned())
}

/// What the unit's processes wrote since a moment, in microseconds since 1970.
pub(super) async fn since(unit: &str, from_us: u64) -> io::Result<Vec<u8>> {
    let from = format!("--since=@{}.{:06}", from_us / 1_000_000, from_us % 1_000_000);
    read(vec![from, format!("_SYSTEMD_UNIT={unit}")]).await
}

fn end_of(text: &str, bytes: u64) -> &str {
    let mut from = text.len().saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
    if from == 0 {
        return text;
    }
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].split_once('\n').map_or(&text[from..], |(_, rest)| rest)
}

async fn read(args: Vec<String>) -> io::Result<Vec<u8>> {
    let usual = ["--quiet", "--no-pager", "--output=cat"].map(str::to_owned);
    let cmd = Exec {
        program: "journalctl".into(),
        args: usual.into_iter().chain(args).collect(),
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        deadline: PATIENCE,
        output_cap: CAP,
        ..Exec::default()
    };
    let output = exec::run(&cmd).await.map_err(io::Error::other)?;
    // 1 is for nothing found.
    if output.timed_out || !matches!(output.status, Some(0 | 1)) {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("journalctl: {}", said.lines().next().unwrap_or("no answer"))));
    }
    Ok(output.stdout)
}

/// A unit's lines as they come, with what systemd says of it. Dropping it ends the child.
#[derive(Debug)]
pub struct Follow {
    _child: Child,
    stdout: BufReader<ChildStdout>,
    partial: Vec<u8>,
}

impl Follow {
    /// Begins with the last `lines`, all where it is `None`; goes on with what comes where `follow` is set.
    pub fn start(unit: &str, lines: Option<usize>, follow: bool) -> io::Result<Self> {
        let lines = lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let mut child = Command::new("journalctl")
            .args(["--quiet", "--no-pager", "--output=cat", "--lines", &lines, "--unit", unit])
            .args(follow.then_some("--follow"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("journalctl has no stdout"))?;
        Ok(Self { _child: child, stdout: BufReader::new(stdout), partial: Vec::new() })
    }

    /// The next line; `None` at the end, which does not come while following. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> io::Result<Option<String>> {
        let read = self.stdout.read_until(b'\n', &mut self.partial).await?;
        if read == 0 && self.partial.is_empty() {
            return Ok(None);
        }
        let line = std::mem::take(&mut self.partial);
        Ok(Some(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_begins_with_a_line() {
        assert_eq!(end_of("one\ntwo\nthree\n", 100), "one\ntwo\nthree\n");
        assert_eq!(end_of("one\ntwo\nthree\n", 8), "three\n");
        assert_eq!(end_of("äöü\nß", 3), "ß");
        assert_eq!(end_of("", 3), "");
    }
}
