//! `stoker remove-relation`.

use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Remove a relation
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker remove-relation web db
  stoker remove-relation 4 --preview")]
pub(crate) struct Arguments {
    /// APP or APP:ENDPOINT; or the relation's number alone
    a: String,
    /// APP or APP:ENDPOINT
    b: Option<String>,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Arguments { a, b, writing } = arguments;
    writing::write(context, Write::RemoveRelation { a, b }, &writing).await
}
