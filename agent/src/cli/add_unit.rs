//! `stoker add-unit`.

use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Add units to an application
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker add-unit web
  stoker add-unit db -n 2 --preview")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// How many
    #[arg(short = 'n', long = "num-units", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Take kept data back (`stoker kept`), one id per unit
    #[arg(long, value_name = "ID", num_args = 1.., value_delimiter = ',')]
    reuse_data: Vec<String>,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Arguments { app, count, reuse_data, writing } = arguments;
    writing::write(context, Write::AddUnit { app, count, reuse_data }, &writing).await
}
