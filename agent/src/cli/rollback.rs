//! `stoker rollback`.

use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Go back to an earlier release
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker rollback web
  stoker rollback web --to 3 --preview")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// To which release; the one before without it
    #[arg(long, value_name = "RELEASE")]
    to: Option<u64>,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    writing::write(context, Write::Rollback { app: arguments.app, to: arguments.to }, &arguments.writing)
        .await
}
