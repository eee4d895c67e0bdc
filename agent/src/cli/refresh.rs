//! `stoker refresh`.

use super::writing::{self, Writing};
use super::{Context, End, source};
use crate::api::types::Write;

/// Take a charm's newest contents
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker refresh web
  stoker refresh web --path ./charms/web --preview")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// The charm's folder; searched by the charm's name without it
    #[arg(long, value_name = "DIR")]
    path: Option<String>,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let path = arguments.path.as_deref().map(source::existing).transpose()?;
    writing::write(context, Write::Refresh { app: arguments.app, path }, &arguments.writing).await
}
