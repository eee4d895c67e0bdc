//! `stoker pin`.

use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;
use crate::problem::{Problem, codes};

/// Stay on a resource's revision, whatever is attached
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker pin web server=2
  stoker pin web server    # the one in use")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// NAME[=REVISION]: of `stoker resources APP --details`
    #[arg(value_name = "NAME[=REVISION]")]
    resource: String,
    #[command(flatten)]
    writing: Writing,
}

/// `NAME` or `NAME=REVISION`.
pub(super) fn revision(text: &str) -> Result<(String, Option<u64>), Problem> {
    let Some((name, number)) = text.split_once('=') else { return Ok((text.to_owned(), None)) };
    let number = number.parse().map_err(|_| {
        let title = format!("cannot use `{text}`: a revision is a number");
        Problem::new(codes::INVALID_VALUE, title).fix("see stoker resources APP --details")
    })?;
    Ok((name.to_owned(), Some(number)))
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let (resource, revision) = revision(&arguments.resource)?;
    let what = Write::PinResource { app: arguments.app, resource, revision };
    writing::write(context, what, &arguments.writing).await
}
