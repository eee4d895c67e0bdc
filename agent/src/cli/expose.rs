//! `stoker expose`.

use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::Write;

/// Let other hosts reach an application's services
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Services bind loopback until then; they are started again at the host's own address once nothing they do is
disturbed by that. What asks for a token or a secret still does. With --to a firewall of the agent's own keeps others out.

Examples:
  stoker expose web
  stoker expose db --to 10.0.0.0/8 --to 192.168.1.20 --preview"
)]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// Only this network, or address; again for more
    #[arg(long, value_name = "CIDR", alias = "to-cidrs", value_delimiter = ',')]
    to: Vec<String>,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Arguments { app, to, writing } = arguments;
    writing::write(context, Write::Expose { app, to }, &writing).await
}
