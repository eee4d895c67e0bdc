//! `stoker show-task`.

use super::{Context, End, run};
use crate::api::types::ActionDoc;

/// Show an action that was run
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker show-task 3
  stoker show-task 3 --format json")]
pub(crate) struct Arguments {
    /// Its number
    id: u64,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    let action: ActionDoc = client.get(client.at(&["actions", &arguments.id.to_string()])).await?;
    context.out.show(&run::document(&action), |_| run::plain(&action))
}
