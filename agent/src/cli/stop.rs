//! `stoker stop`.

use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Stop services until they are started again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker stop web/0
  stoker stop web/0/server --preview")]
pub(crate) struct Arguments {
    /// UNIT or UNIT/SERVICE
    target: String,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    writing::write(context, Write::Stop { target: arguments.target }, &arguments.writing).await
}
