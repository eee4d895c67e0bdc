//! `stoker version`.

use serde_json::json;

use super::client::Client;
use super::{Context, End};
use crate::api::types::Version;

/// Show the version of this command, and of the agent where one answers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker version
  stoker version --format json")]
pub(crate) struct Arguments {}

pub(super) async fn run(_: Arguments, context: &Context) -> Result<(), End> {
    let own = env!("CARGO_PKG_VERSION");
    let agent: Option<Version> = match context.client() {
        Ok(client) => client.get(Client::root(&["version"])).await.ok(),
        Err(_) => None,
    };
    context.out.show(&json!({ "version": own, "agent": agent }), |_| match &agent {
        Some(agent) => format!("stoker {own}\nagent {} (pid {}, {})\n", agent.version, agent.pid, agent.dir),
        None => format!("stoker {own}\n"),
    })
}
