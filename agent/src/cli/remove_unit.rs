//! `stoker remove-unit`.

use super::ask::Sure;
use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Remove a unit; its data is kept unless told otherwise
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker remove-unit web/2
  stoker remove-unit db/1 --destroy-data --yes")]
pub(crate) struct Arguments {
    /// The units
    #[arg(required = true, value_name = "UNIT")]
    units: Vec<String>,
    /// Do not wait for it to drain
    #[arg(long)]
    force: bool,
    /// Its data goes too (asks for the application's name)
    #[arg(long, alias = "destroy-storage")]
    destroy_data: bool,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Arguments { units, force, destroy_data, sure, writing } = arguments;
    if destroy_data && !writing.preview {
        let app = units.first().and_then(|unit| unit.split('/').next()).unwrap_or_default();
        sure.confirm(&format!("remove {} with its data", units.join(", ")), app)?;
    }
    for unit in units {
        writing::write(context, Write::RemoveUnit { unit, force, destroy_data }, &writing).await?;
    }
    Ok(())
}
