//! `stoker wait`.

use std::time::Instant;

use clap::ValueEnum;
use serde_json::Value;

use super::client::Client;
use super::follow::{self, Patience, Subject};
use super::{Context, End};
use crate::api::types::ChangeStatus;
use crate::problem::{Problem, codes};

/// Wait until a change, an application or the model has settled
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker wait 17
  stoker wait web --for active --timeout 10m")]
pub(crate) struct Arguments {
    /// A change's number, or an application; the whole model without it
    #[arg(value_name = "CHANGE|APP")]
    subject: Option<String>,
    /// Until it is settled, active, or gone
    #[arg(long = "for", value_enum, default_value = "settled", value_name = "STATE")]
    state: Aim,
    #[command(flatten)]
    patience: Patience,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Aim {
    #[value(alias = "idle")]
    Settled,
    Active,
    Gone,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Arguments { subject, state, patience } = arguments;
    let client = context.client()?;
    let subject = match subject {
        Some(text) => text.parse().map_or_else(|_| Subject::App(Some(text)), Subject::Change),
        None => Subject::App(None),
    };
    if state != Aim::Settled {
        let aimed = until(&client, &subject, state, &patience);
        return Ok(follow::interruptible(aimed, || {
            Problem::new(codes::INTERRUPTED, "stopped waiting").fix("stoker status")
        })
        .await?);
    }
    let status: ChangeStatus = follow::settled(context, &client, &subject, &patience).await?;
    if context.out.format != super::out::Format::Tabular {
        context.out.document(&status)?;
    }
    follow::verdict(context.out, &status, &patience)
}

/// Asks for the status at each new revision until it is what is aimed at.
async fn until(client: &Client, subject: &Subject, aim: Aim, patience: &Patience) -> Result<(), Problem> {
    let Subject::App(app) = subject else {
        return Err(Problem::new(
            codes::USAGE,
            "cannot wait for a change to be active or gone: changes only settle",
        )
        .fix("name an application, or leave --for out"));
    };
    let start = Instant::now();
    loop {
        let status: Value = client.get(client.at(&["status"])).await?;
        let apps = status["applications"].as_object();
        let mut chosen = apps
            .into_iter()
            .flatten()
            .filter(|(name, _)| app.as_ref().is_none_or(|app| app == *name))
            .peekable();
        let reached = match aim {
            Aim::Gone => chosen.peek().is_none(),
            _ => chosen.peek().is_some() && chosen.all(|(_, app)| is_active(app)),
        };
        if reached {
            return Ok(());
        }
        if patience.timeout.is_some_and(|timeout| start.elapsed() >= timeout) {
            return Err(
                Problem::new(codes::NOT_SETTLED, "it did not come so far in time").fix("stoker status")
            );
        }
        // Whatever changes, a change settles: the answer comes then, or after a second.
        let mut url = client.at(&["settled"]);
        url.query_pairs_mut().append_pair("wait", "1000");
        let settled: ChangeStatus = client.get(url).await?;
        if settled.settled {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
}

fn is_active(app: &Value) -> bool {
    let current = |status: &Value| status["current"] == "active";
    current(&app["application-status"])
        && app["units"]
            .as_object()
            .is_none_or(|units| units.values().all(|unit| current(&unit["workload-status"])))
}
