//! `stoker remove-application`.

use super::ask::Sure;
use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Remove an application; its data is kept unless told otherwise
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker remove-application web
  stoker remove-application db --destroy-data --yes")]
pub(crate) struct Arguments {
    /// The applications
    #[arg(required = true, value_name = "APP")]
    apps: Vec<String>,
    /// Do not wait for units to drain
    #[arg(long)]
    force: bool,
    /// Its data goes too
    #[arg(long, alias = "destroy-storage")]
    destroy_data: bool,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Arguments { apps, force, destroy_data, sure, writing } = arguments;
    if !writing.preview {
        for app in &apps {
            let data = if destroy_data { "with its data" } else { "(its data is kept)" };
            sure.confirm(&format!("remove the application `{app}` {data}"), app)?;
        }
    }
    for app in apps {
        writing::write(context, Write::RemoveApplication { app, force, destroy_data }, &writing).await?;
    }
    Ok(())
}
