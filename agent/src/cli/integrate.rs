//! `stoker integrate`, also `stoker relate`.

use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Relate two applications
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker integrate web db
  stoker integrate web:cache store:server --wait --timeout 5m")]
pub(crate) struct Arguments {
    /// APP or APP:ENDPOINT
    a: String,
    /// APP or APP:ENDPOINT
    b: String,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Arguments { a, b, writing } = arguments;
    writing::write(context, Write::Integrate { a, b }, &writing).await
}
