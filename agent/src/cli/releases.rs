//! `stoker releases`.

use super::table::{Table, terminal_width};
use super::{Context, End};
use crate::api::types::ReleaseDoc;

/// Show an application's releases: when, who, what
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker releases web
  stoker releases web --format json")]
pub(crate) struct Arguments {
    /// The application
    app: String,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    let releases: Vec<ReleaseDoc> =
        client.get(client.at(&["applications", &arguments.app, "releases"])).await?;
    context.out.show(&releases, |releases| table(releases))
}

fn table(releases: &[ReleaseDoc]) -> String {
    let mut table = Table::new(&["Release", "3Time", "2By", "Resources", "Units", "Difference", "1Command"]);
    for release in releases {
        let resources: Vec<String> =
            release.resources.iter().map(|(name, what)| format!("{name} {what}")).collect();
        table.row([
            release.release.to_string(),
            release.time.clone(),
            release.by.clone(),
            resources.join(", "),
            release.units.len().to_string(),
            release.difference.join("; "),
            release.command.clone(),
        ]);
    }
    table.render(terminal_width())
}
