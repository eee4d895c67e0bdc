//! `stoker remove-resource`.

use super::pin::revision;
use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;
use crate::problem::{Problem, codes};

/// Forget a resource's revision that nothing uses
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker remove-resource web server=1
  stoker remove-resource web server=1 --force    # though release 1 can then not be gone back to")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// NAME=REVISION: of `stoker resources APP --details`
    #[arg(value_name = "NAME=REVISION")]
    resource: String,
    /// Also one that earlier releases would need
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let (resource, number) = revision(&arguments.resource)?;
    let Some(number) = number else {
        let title = format!("cannot remove `{resource}`: which revision?");
        let fix = format!("stoker resources {} --details", arguments.app);
        return Err(Problem::new(codes::INVALID_VALUE, title).fix(fix).into());
    };
    let what =
        Write::RemoveResource { app: arguments.app, resource, revision: number, force: arguments.force };
    writing::write(context, what, &arguments.writing).await
}
