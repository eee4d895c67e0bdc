//! `stoker rollout`.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::table::{Table, terminal_width};
use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::{ChangeStatus, ReleaseDoc, Write};

/// Show how an application moves to its newest release, or take it in hand
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker rollout web
  stoker rollout web now --wait")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// `status` (the default), `now` (all at once), `pause`, `resume` or `abort` (back)
    #[arg(value_enum, default_value = "status", hide_default_value = true, hide_possible_values = true)]
    what: What,
    #[command(flatten)]
    writing: Writing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Where it stands (the default)
    Status,
    /// Move now, all that are left, whatever is busy
    Now,
    /// Begin no further units
    Pause,
    /// Go on
    Resume,
    /// Give it up: back to what was before
    Abort,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Arguments { app, what, writing } = arguments;
    let verb = match what {
        What::Status => return status(&app, context).await,
        What::Now => Write::RolloutNow { app },
        What::Pause => Write::RolloutPause { app },
        What::Resume => Write::RolloutResume { app },
        What::Abort => Write::RolloutAbort { app },
    };
    writing::write(context, verb, &writing).await
}

async fn status(app: &str, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    let releases: Vec<ReleaseDoc> = client.get(client.at(&["applications", app, "releases"])).await?;
    let mut url = client.at(&["settled"]);
    url.query_pairs_mut().append_pair("app", app).append_pair("wait", "0");
    let stand: ChangeStatus = client.get(url).await?;
    let document = document(app, &releases, &stand);
    context.out.show(&document, |_| text(&releases, &stand))
}

fn document(app: &str, releases: &[ReleaseDoc], stand: &ChangeStatus) -> Value {
    let newest = releases.iter().map(|release| release.release).max().unwrap_or(0);
    let units: serde_json::Map<String, Value> = releases
        .iter()
        .flat_map(|release| release.units.iter().map(move |unit| (unit.clone(), json!(release.release))))
        .collect();
    json!({
        "application": app, "release": newest, "units": units, "settled": stand.settled,
        "pending": stand.pending, "deferred": stand.deferred, "blocked": stand.blocked, "errors": stand.errors,
    })
}

fn text(releases: &[ReleaseDoc], stand: &ChangeStatus) -> String {
    let newest = releases.iter().map(|release| release.release).max().unwrap_or(0);
    let mut table = Table::new(&["Unit", "Release", "Of", "Stands"]);
    for release in releases {
        for unit in &release.units {
            let begins = format!("{unit}:");
            let said = [&stand.errors, &stand.blocked, &stand.deferred, &stand.pending]
                .into_iter()
                .flatten()
                .find(|line| line.starts_with(&begins));
            let stands = match said {
                Some(line) => line[begins.len()..].trim().to_owned(),
                None if release.release == newest => "moved".to_owned(),
                None => "to move".to_owned(),
            };
            table.row([unit.clone(), release.release.to_string(), newest.to_string(), stands]);
        }
    }
    let last = if stand.settled { "settled\n" } else { "not settled\n" };
    table.render(terminal_width()) + last
}
