//! `stoker events`.

use super::client::Client;
use super::table::{Table, terminal_width};
use super::{Context, End};
use crate::api::audit::Event;
use crate::problem::{Problem, codes};

/// Show who asked for what, when and from where
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker events --since 2h
  stoker events --app web --format json")]
pub(crate) struct Arguments {
    /// Only changes to this application
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Not what is older: 90s, 30m, 2h, 7d, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// How many, the newest
    #[arg(short = 'n', long, default_value = "100", value_name = "N")]
    lines: usize,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let since = arguments.since.as_deref().map(|text| since(text, crate::core::now())).transpose()?;
    let client = context.client()?;
    let mut url = Client::root(&["events"]);
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("most", &arguments.lines.to_string());
        if let Some(app) = &arguments.app {
            query.append_pair("app", app);
        }
        if let Some(since) = since {
            query.append_pair("since", &since.to_string());
        }
    }
    let events: Vec<Event> = client.get(url).await?;
    context.out.show(&events, |events| table(events))
}

/// A time, or how long ago, as milliseconds since 1970.
fn since(text: &str, now: u64) -> Result<u64, Problem> {
    if let Ok(ago) = stoker_model::size::duration(text) {
        return Ok(now.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)));
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        Problem::new(codes::USAGE, format!("cannot show events since `{text}`: that is no time"))
            .fix("a duration such as 2h, or a time such as 2026-01-31T12:00:00Z")
    })?;
    Ok(u64::try_from(time.as_millisecond()).unwrap_or_default())
}

fn table(events: &[Event]) -> String {
    let mut table = Table::new(&["Time", "By", "2From", "1Change", "Result", "Command"]);
    for event in events {
        let time = event.time.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " ");
        let by = match &event.login {
            Some(login) => format!("{} ({login})", event.by),
            None => event.by.clone(),
        };
        let pid = event.pid.map(|pid| format!("[{pid}]")).unwrap_or_default();
        table.row([
            time,
            by,
            format!("{}{pid}", event.program.as_deref().unwrap_or_default()),
            event.change.map(|change| change.to_string()).unwrap_or_default(),
            event.result.clone(),
            event.command.clone(),
        ]);
    }
    if table.is_empty() { "nothing was asked\n".to_owned() } else { table.render(terminal_width()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        assert_eq!(since("2h", 10_000_000).unwrap(), 2_800_000);
        assert_eq!(since("2h", 5).unwrap(), 0);
        assert_eq!(since("1970-01-01T00:00:01Z", 0).unwrap(), 1000);
        assert_eq!(since("yesterday", 0).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn who_and_from_where_are_shown() {
        let origin = stoker_model::record::Origin {
            uid: 0,
            pid: Some(41),
            program: Some("stoker".into()),
            login: Some("ann".into()),
        };
        let event = Event { command: "stoker down".into(), ..Event::at(0, "root", Some(&origin)) };
        let text = table(&[event]);
        for part in ["1970-01-01 00:00:00", "root (ann)", "stoker[41]", "stoker down"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
