//! `stoker start`.

use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Start services that were stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker start web/0
  stoker start web/0/server --wait")]
pub(crate) struct Arguments {
    /// UNIT or UNIT/SERVICE
    target: String,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    writing::write(context, Write::Start { target: arguments.target }, &arguments.writing).await
}
