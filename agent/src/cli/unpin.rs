//! `stoker unpin`.

use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Go to a resource's newest revision, now and from now on
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker unpin web server
  stoker unpin web server --preview")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// The resource
    resource: String,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let what = Write::UnpinResource { app: arguments.app, resource: arguments.resource };
    writing::write(context, what, &arguments.writing).await
}
