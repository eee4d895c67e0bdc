//! `stoker unexpose`.

use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Let no other host reach an application's services any more
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker unexpose web
  stoker unexpose db --now --wait")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Arguments { app, writing } = arguments;
    writing::write(context, Write::Unexpose { app }, &writing).await
}
