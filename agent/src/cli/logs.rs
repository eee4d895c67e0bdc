//! `stoker logs`.

use serde::{Deserialize, Serialize};

use super::client::Lines;
use super::out::{Format, Out, clean, clean_line};
use super::{Context, End, follow};
use crate::problem::{Problem, codes};

/// Show what services and tasks have written
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker logs web/0/server -f
  stoker logs web -n 50")]
pub(crate) struct Arguments {
    /// APP, UNIT or UNIT/SERVICE
    target: String,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// How many lines of the end, of each service; or `all`
    #[arg(short = 'n', long, default_value = "200", value_name = "N")]
    lines: String,
}

/// A line as the agent sends it; also what `--format json` prints, one a line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub source: String,
    pub line: String,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    let mut url = client.at(&["logs"]);
    url.query_pairs_mut().append_pair("target", &arguments.target);
    ask(&mut url, arguments.follow, &arguments.lines)?;
    let lines = client.lines(url).await?;
    let single = arguments.target.matches('/').count() == 2;
    show(lines, context.out.format, move |line| {
        if single {
            clean_line(&line.line)
        } else {
            format!("{}: {}", clean(&line.source), clean_line(&line.line))
        }
    })
    .await
}

/// Adds how much is asked for.
pub(super) fn ask(url: &mut reqwest::Url, follow: bool, lines: &str) -> Result<(), Problem> {
    let mut query = url.query_pairs_mut();
    if lines != "all" {
        let n: usize = lines.parse().map_err(|_| {
            Problem::new(codes::USAGE, format!("cannot show `{lines}` lines")).fix("give a number, or `all`")
        })?;
        query.append_pair("lines", &n.to_string());
    }
    if follow {
        query.append_pair("follow", "true");
    }
    Ok(())
}

/// Prints lines as they come, until there are no more, or until Ctrl-C, which is a usual end here.
pub(super) async fn show(
    mut lines: Lines,
    format: Format,
    mut text: impl FnMut(&Line) -> String,
) -> Result<(), End> {
    let interrupted = || Problem::new(codes::INTERRUPTED, "");
    loop {
        let line = match follow::interruptible(lines.next::<Line>(), interrupted).await {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            Err(problem) if problem.code == codes::INTERRUPTED.id => return Err(End::Exit(130)),
            Err(problem) => return Err(problem.into()),
        };
        let shown = match format {
            Format::Tabular => text(&line),
            // One document a line: a stream has no end to wait for.
            _ => serde_json::to_string(&line).unwrap_or_default(),
        };
        Out::payload(&(shown + "\n"))?;
    }
}
