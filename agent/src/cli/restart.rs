//! `stoker restart`.

use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Restart services, or run a failed task again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker restart web/0
  stoker restart web/0/server --wait --timeout 2m")]
pub(crate) struct Arguments {
    /// UNIT, UNIT/SERVICE or UNIT/TASK
    target: String,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    writing::write(context, Write::Restart { target: arguments.target }, &arguments.writing).await
}
