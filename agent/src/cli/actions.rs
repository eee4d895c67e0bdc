//! `stoker actions`.

use serde_json::Value;

use super::table::{Table, terminal_width};
use super::{Context, End, show_unit};

/// Show the actions that an application knows
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker actions web
  stoker actions web --schema")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// Their parameters too
    #[arg(long)]
    schema: bool,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    let actions: Value = client.get(client.at(&["applications", &arguments.app, "actions"])).await?;
    if arguments.schema {
        return show_unit::yaml(context, &actions);
    }
    context.out.show(&actions, table)
}

fn table(actions: &Value) -> String {
    let mut table = Table::new(&["Action", "Description"]);
    for (name, action) in actions.as_object().into_iter().flatten() {
        table.row([name.clone(), action["summary"].as_str().unwrap_or_default().to_owned()]);
    }
    if table.is_empty() { "it has no actions\n".to_owned() } else { table.render(terminal_width()) }
}
