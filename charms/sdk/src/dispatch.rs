//! The dispatch role: observation in, plan out, over the tool socket or over standard streams. Owns the exchange
//! with the agent; must not look into either document.

use std::io::Read;

use anyhow::{Context, bail, ensure};
use stoker_hooks::client::{ADDRESS, Connection};
use stoker_hooks::wire::Response;

use crate::{Observation, Plan, PlanFn, observation, plan, roles};

/// With a socket in the environment: fetches the observation, hands over the plan. Without: from standard input
/// to standard output.
pub(crate) fn run(plan: PlanFn) -> anyhow::Result<()> {
    if std::env::var_os(ADDRESS).is_none() {
        let mut json = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut json)
            .context("cannot read the observation from standard input")?;
        let answer = answer(plan, &json)?;
        return roles::print(&serde_json::to_string(&answer)?).map(|_| ());
    }
    let connection = Connection::from_env()?;
    let seen = call(connection.call("observe", &[], &mut std::io::empty())?, "cannot observe")?;
    let answer = answer(plan, &seen)?;
    call(connection.call_with("plan", &[], serde_json::to_vec(&answer)?)?, "cannot hand over the plan")?;
    Ok(())
}

fn answer(plan: PlanFn, json: &[u8]) -> anyhow::Result<Plan> {
    let seen: Observation = serde_json::from_slice(json).context("cannot read the observation")?;
    ensure!(
        seen.format == observation::FORMAT,
        "cannot read the observation: its format is {}, this charm knows {}",
        seen.format,
        observation::FORMAT
    );
    let mut answer = plan(&seen)?;
    if answer.format == 0 {
        answer.format = plan::FORMAT;
    }
    Ok(answer)
}

fn call(response: Response, what: &str) -> anyhow::Result<Vec<u8>> {
    if response.code != 0 {
        let said = response.stderr.text();
        bail!("{what}: {}", said.trim().trim_start_matches("ERROR ").trim());
    }
    Ok(response.stdout.0)
}
