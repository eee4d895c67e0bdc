//! `stoker debug-log`.

use super::client::Client;
use super::out::{Out, clean_line};
use super::{Context, End, logs};

/// Show the agent's own log
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker debug-log -i unit-web-0 --level warn
  stoker debug-log --replay --no-tail")]
pub(crate) struct Arguments {
    /// Go on with what comes (the default on a terminal)
    #[arg(short = 'f', long, alias = "follow", conflicts_with = "no_tail")]
    tail: bool,
    /// Do not go on
    #[arg(long)]
    no_tail: bool,
    /// How many lines of the end; or `all`
    #[arg(short = 'n', long, default_value = "200", value_name = "N")]
    lines: String,
    /// From the beginning
    #[arg(long)]
    replay: bool,
    /// Only this unit or `agent` (unit-web-0, web/0); may be repeated
    #[arg(short, long, value_name = "ENTITY")]
    include: Vec<String>,
    /// Not this unit or `agent`; may be repeated
    #[arg(short = 'x', long, value_name = "ENTITY")]
    exclude: Vec<String>,
    /// This level and worse: error, warn, info, debug or trace
    #[arg(short, long, default_value = "trace", value_name = "LEVEL", hide_default_value = true)]
    level: tracing::Level,
    /// Dates too
    #[arg(long)]
    date: bool,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    let mut url = Client::root(&["debug-log"]);
    let tails = arguments.tail || (!arguments.no_tail && Out::watched());
    logs::ask(&mut url, tails, if arguments.replay { "all" } else { &arguments.lines })?;
    let mut lines = client.lines(url).await?;
    // What belongs to a line goes with it: lines of one event after the first are indented.
    let mut shown = true;
    loop {
        let next = super::follow::interruptible(lines.next::<logs::Line>(), || {
            crate::problem::Problem::new(crate::problem::codes::INTERRUPTED, "")
        });
        let line = match next.await {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            Err(problem) if problem.exit_code() == 130 => return Err(End::Exit(130)),
            Err(problem) => return Err(problem.into()),
        };
        if !line.line.starts_with(' ') {
            shown = passes(&line.line, &arguments);
        }
        if shown && context.out.format == super::out::Format::Tabular {
            let line = if arguments.date { line.line } else { without_date(&line.line) };
            Out::payload(&(clean_line(&line) + "\n"))?;
        } else if shown {
            Out::payload(&(serde_json::to_string(&line).unwrap_or_default() + "\n"))?;
        }
    }
}

/// `ENTITY: TIME LEVEL TARGET …`.
fn passes(line: &str, asked: &Arguments) -> bool {
    let (entity, rest) = line.split_once(": ").unwrap_or(("agent", line));
    let level = rest.split(' ').nth(1).and_then(|word| word.parse::<tracing::Level>().ok());
    let names = |given: &[String]| {
        given.iter().any(|name| name == entity || format!("unit-{}", name.replace('/', "-")) == entity)
    };
    level.is_none_or(|level| level <= asked.level)
        && (asked.include.is_empty() || names(&asked.include))
        && !names(&asked.exclude)
}

fn without_date(line: &str) -> String {
    let Some((entity, rest)) = line.split_once(": ") else { return line.to_owned() };
    match rest.split_once(' ') {
        Some((time, rest)) if time.ends_with('Z') => {
            let clock = time.split_once('T').map_or(time, |(_, clock)| clock);
            format!("{entity}: {} {rest}", clock.split('.').next().unwrap_or(clock))
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn lines_are_chosen_by_entity_and_level() {
        let line = "unit-web-0: 2026-01-31T12:00:00.123Z WARN stoker::unit says";
        let asked = |words: &[&str]| passes(line, &Line::parse_from([&["x"], words].concat()).arguments);
        assert!(asked(&[]) && asked(&["-i", "web/0"]) && asked(&["-i", "unit-web-0", "-l", "warn"]));
        assert!(!asked(&["-l", "error"]) && !asked(&["-i", "agent"]) && !asked(&["-x", "web/0"]));
        assert_eq!(without_date(line), "unit-web-0: 12:00:00 WARN stoker::unit says");
        assert_eq!(without_date("odd"), "odd");
    }
}
