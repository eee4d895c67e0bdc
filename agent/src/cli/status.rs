//! `stoker status`: the sections of Juju's status, and stoker's own. The document is the agent's; what it looks like
//! is in [`sections`].

mod sections;

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::out::{Out, written};
use super::{Context, End};
use crate::problem::{Problem, codes};

/// Between two drawings at least this long, however fast things change.
const CALM: Duration = Duration::from_millis(200);
/// An agent that went away is asked for again after this long.
const AGAIN: Duration = Duration::from_secs(1);

/// Show all at a glance: applications, units, builds, integrations
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker status --watch
  stoker status web db/0 --format json")]
pub(crate) struct Arguments {
    /// Only these applications and units
    #[arg(value_name = "APP|UNIT")]
    filter: Vec<String>,
    /// Draw it again whenever something changes
    #[arg(long)]
    watch: bool,
    /// Accepted, as integrations are always shown
    #[arg(long, alias = "integrations", hide = true)]
    relations: bool,
    /// Accepted, as times are always UTC
    #[arg(long, hide = true)]
    utc: bool,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    if !arguments.watch {
        let status = ask(&client, &arguments.filter).await?;
        context.out.show(&status, |status| sections::render(status, super::table::terminal_width()))?;
        if status["applications"].as_object().is_none_or(serde_json::Map::is_empty) {
            context.out.talk(if arguments.filter.is_empty() {
                "nothing is deployed: stoker deploy CHARM"
            } else {
                "nothing matches: stoker status shows all"
            });
        }
        return Ok(());
    }
    tokio::select! {
        ended = watch(context, &client, &arguments.filter) => ended,
        _ = tokio::signal::ctrl_c() => Err(End::Exit(130)),
    }
}

async fn ask(client: &Client, filter: &[String]) -> Result<Value, Problem> {
    let mut url = client.at(&["status"]);
    if !filter.is_empty() {
        url.query_pairs_mut().append_pair("filter", &filter.join(","));
    }
    client.get(url).await
}

/// Draws at each event; where the agent goes away, the last drawing stays and says so.
async fn watch(context: &Context, client: &Client, filter: &[String]) -> Result<(), End> {
    let mut status = ask(client, filter).await?;
    draw(context.out, &status, "connected")?;
    loop {
        match client.stream(client.at(&["events"])).await {
            Ok(mut events) => {
                while events.chunk().await.is_ok_and(|chunk| chunk.is_some()) {
                    match ask(client, filter).await {
                        Ok(fresh) => status = fresh,
                        Err(problem) if problem.code == codes::UNREACHABLE.id => break,
                        Err(problem) => return Err(problem.into()),
                    }
                    draw(context.out, &status, "connected")?;
                    tokio::time::sleep(CALM).await;
                }
            }
            Err(problem) if problem.code == codes::UNREACHABLE.id => {}
            Err(problem) => return Err(problem.into()),
        }
        draw(context.out, &status, "not connected: the agent does not answer")?;
        tokio::time::sleep(AGAIN).await;
    }
}

fn draw(out: Out, status: &Value, connection: &str) -> Result<(), End> {
    if out.format != super::out::Format::Tabular {
        return out.document(status);
    }
    let mut text = sections::render(status, super::table::terminal_width());
    let _ = writeln!(text, "\n{} {connection}", jiff::Timestamp::now().strftime("%H:%M:%S"));
    if !std::io::stdout().is_terminal() {
        return Out::payload(&(text + "\n"));
    }
    // Each line is overwritten and the rest of it erased, then what is below: nothing flickers. What does not fit
    // the screen is left out, or it would scroll.
    let rows = terminal_size::terminal_size().map_or(usize::MAX, |(_, height)| usize::from(height.0));
    let lines: Vec<&str> = text.lines().collect();
    let shown = if lines.len() >= rows { &lines[..rows.saturating_sub(1)] } else { &lines[..] };
    let mut frame = String::from("\x1b[H");
    for line in shown {
        frame.push_str(line);
        frame.push_str("\x1b[K\n");
    }
    frame.push_str("\x1b[J");
    let mut terminal = std::io::stdout().lock();
    let frame = if anstream::stdout().current_choice() == anstream::ColorChoice::Never {
        without_colour(&frame)
    } else {
        frame
    };
    written(terminal.write_all(frame.as_bytes()).and_then(|()| terminal.flush()))
}

/// Colours out, cursor moves stay.
fn without_colour(frame: &str) -> String {
    let mut parts = frame.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.find(|c: char| c.is_ascii_alphabetic()) {
            Some(end) if part[end..].starts_with('m') => plain.push_str(&part[end + 1..]),
            _ => {
                plain.push_str("\x1b[");
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_and_moves_stay() {
        assert_eq!(without_colour("\x1b[Ha\x1b[32mb\x1b[0m\x1b[K\n"), "\x1b[Hab\x1b[K\n");
    }
}
