//! `stoker kept`.

use clap::Subcommand;

use super::ask::Sure;
use super::out::bytes;
use super::table::{Table, terminal_width};
use super::writing::{self, Writing};
use super::{Context, End};
use crate::api::types::{Kept, Write};

/// List or destroy the kept data of removed units
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker kept
  stoker kept destroy db-0-5f0c --yes")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List it (the default)
    List,
    /// Destroy it: there is no way back
    Destroy {
        /// Its id
        id: String,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        writing: Box<Writing>,
    },
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    match arguments.verb {
        None | Some(Verb::List) => {
            let client = context.client()?;
            let kept: Vec<Kept> = client.get(client.at(&["kept"])).await?;
            context.out.show(&kept, |kept| table(kept))
        }
        Some(Verb::Destroy { id, sure, writing }) => {
            if !writing.preview {
                sure.confirm(&format!("destroy the kept data `{id}` for good"), &id)?;
            }
            writing::write(context, Write::DestroyKept { id }, &writing).await
        }
    }
}

fn table(kept: &[Kept]) -> String {
    let mut table = Table::new(&["Id", "Unit", "1Charm", "Size", "2Removed", "3Folders"]);
    for each in kept {
        table.row([
            each.id.clone(),
            each.unit.clone(),
            each.charm.clone(),
            bytes(each.bytes),
            each.removed.clone(),
            each.dirs.join(" "),
        ]);
    }
    if table.is_empty() { "nothing is kept\n".to_owned() } else { table.render(terminal_width()) }
}
