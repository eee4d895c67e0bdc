//! `stoker inspect`.

use std::fmt::Write as _;

use serde_json::Value;

use super::out::clean;
use super::{Context, End, source};
use crate::api::types::AddBuild;
use crate::cli::client::Client;
use crate::problem::codes;
use crate::settings::Settings;

/// Show the facts of an archive or folder, with or without an agent; nothing is kept
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker inspect ./server-2.1.tar.gz
  stoker inspect ./server-2.1 --charm ./charms/web --format json")]
pub(crate) struct Arguments {
    /// An archive, a folder, https://…#sha512=HEX, or build:DIGEST
    source: String,
    /// The charm whose inspection is used, by name or folder; all are tried without it
    #[arg(long)]
    charm: Option<String>,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let from = source::source(&arguments.source)?;
    let charm = arguments.charm.as_deref().map(source::charm).transpose()?;
    let add = AddBuild { source: from.clone(), charm: charm.clone() };
    let asked: Result<Value, _> = match context.client() {
        Ok(client) => client.post(Client::root(&["inspect"]), &add).await,
        Err(problem) => Err(problem),
    };
    let facts = match asked {
        Err(problem) if problem.code == codes::UNREACHABLE.id => {
            let settings = Settings::load(&context.paths)?;
            crate::core::inspect_without_agent(&from, charm.as_deref(), &settings).await?
        }
        answered => answered?,
    };
    context.out.show(&facts, render)
}

fn render(facts: &Value) -> String {
    let mut text = String::new();
    for name in ["product", "version", "shape"] {
        if let Some(value) = facts[name].as_str() {
            let _ = writeln!(text, "{name:<10} {}", clean(value));
        }
    }
    for name in ["requires", "provides", "details"] {
        let Some(map) = facts[name].as_object() else { continue };
        for (key, value) in map {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let _ = writeln!(text, "{name:<10} {} {}", clean(key), clean(&value));
        }
    }
    text
}
