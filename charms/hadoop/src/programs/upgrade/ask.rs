//! `upgrade-ask`: leaves a request beside the metadata and waits for what becomes of it. `upgrade-asked`: tells the
//! plan of it. A request is of one application, so that data that were kept bring none along.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use stoker_charm::serde_json::{Value, json};

use super::{OUTCOME, REQUEST, read, write};
use crate::programs::{Args, done, say};

const PACE: Duration = Duration::from_millis(200);

/// Runs `upgrade-ask`; the task's deadline ends it.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &["name", "for", "verb", "after", "now"])?;
    let folder = Path::new(args.need("name")?);
    let (app, verb) = (args.need("for")?, args.need("verb")?);
    let after: u64 = args.need("after")?.parse().context("`--after` is no number")?;
    let before = read(folder, REQUEST)?.filter(|request| request["for"] == app);
    let last = before.and_then(|request| request["nr"].as_u64()).unwrap_or(0);
    let nr = after.max(last) + 1;
    write(
        folder,
        REQUEST,
        &json!({"nr": nr, "for": app, "verb": verb, "now": args.get("now") == Some("true")}),
    )?;
    say(&format!("{verb}: asked for; stoker status shows how far it is"))?;
    loop {
        let outcome = read(folder, OUTCOME)?.filter(|outcome| outcome["nr"] == nr);
        if let Some(outcome) = outcome {
            return match outcome["failed"].as_str() {
                Some(failed) => bail!("cannot {verb}: {failed}"),
                None => done(&json!({"outcome": outcome["outcome"]})),
            };
        }
        let now = read(folder, REQUEST)?.map(|request| request["nr"].clone());
        if now != Some(Value::from(nr)) {
            bail!("another request came after this {verb}");
        }
        thread::sleep(PACE);
    }
}

/// Runs `upgrade-asked`.
pub(crate) fn asked(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &["name", "for"])?;
    let request = read(Path::new(args.need("name")?), REQUEST)?;
    let ours = request.filter(|request| Some(request["for"].as_str().unwrap_or_default()) == args.get("for"));
    done(&ours.map_or_else(
        || json!({}),
        |request| json!({"nr": request["nr"], "verb": request["verb"], "now": request["now"]}),
    ))
}
