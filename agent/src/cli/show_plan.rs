//! `stoker show-plan`.

use serde_json::Value;

use super::{Context, End, show_unit};

/// Show a unit's newest plan; secrets are never in it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker show-plan web/0
  stoker show-plan web/0 --format json")]
pub(crate) struct Arguments {
    /// The unit
    unit: String,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let (app, n) = show_unit::parts(&arguments.unit)?;
    let client = context.client()?;
    let plan: Value = client.get(client.at(&["units", &app, &n, "plan"])).await?;
    show_unit::yaml(context, &plan)
}
