//! `stoker attach-resource`.

use super::writing::{self, Writing};
use super::{Context, End, source};
use crate::api::types::Write;

/// Give an application a resource's new revision
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker attach-resource web server=./server-2.1.tar.gz
  stoker attach-resource web server=recipe:2.1 --preview")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// NAME=SOURCE: a file, a folder, recipe:VERSION, recipe:PATH[@VERSION] or build:DIGEST
    #[arg(value_name = "NAME=SOURCE")]
    resource: String,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let (resource, from) = source::pair(&arguments.resource)?;
    let what = Write::AttachResource { app: arguments.app, resource, source: source::source(&from)? };
    writing::write(context, what, &arguments.writing).await
}
