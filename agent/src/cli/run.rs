//! `stoker run`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use stoker_model::ids::UnitId;

use super::client::Client;
use super::out::{Format, Out, clean, clean_lines};
use super::progress::Shown;
use super::writing::{self, Writing};
use super::{Context, End, follow, source};
use crate::api::types::{ActionDoc, Write};
use crate::problem::{Problem, codes};

/// How long one question is held by the agent.
const ASK: Duration = Duration::from_secs(5);

/// Run an action on units and wait for its result (--no-wait does not)
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker run web/0 backup to=/srv/backup
  stoker run web/leader import data=./rows.csv --format json")]
pub(crate) struct Arguments {
    /// UNIT… ACTION [PARAM=VALUE…]; a unit is APP/N or APP/leader
    #[arg(required = true, num_args = 2.., value_name = "UNIT… ACTION PARAM=VALUE…")]
    words: Vec<String>,
    /// A YAML file of parameters
    #[arg(long, value_name = "FILE")]
    params: Option<String>,
    /// Take values as text, not as YAML
    #[arg(long)]
    string_args: bool,
    /// The same as --no-wait
    #[arg(long)]
    background: bool,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let (units, action, pairs) = split(&arguments.words)?;
    let client = context.client()?;
    let params = params(&client, &units, &action, &arguments, &pairs).await?;
    let what = Write::Run { units, action, params };
    if arguments.writing.preview {
        return writing::write(context, what, &arguments.writing).await;
    }
    let reply = writing::send(context, &client, what, &arguments.writing).await?;
    if arguments.background || arguments.writing.no_wait {
        return context.out.show(&reply, |reply| {
            let change = reply.change.map_or_else(String::new, |change| format!("change {change}\n"));
            reply.actions.iter().fold(change, |text, id| text + &format!("action {id}\n"))
        });
    }
    let waited = wait(context, &client, &reply.actions, arguments.writing.patience.timeout);
    let ids: Vec<String> = reply.actions.iter().map(u64::to_string).collect();
    let done = follow::interruptible(waited, || {
        Problem::new(codes::INTERRUPTED, format!("stopped waiting for action {}: it goes on", ids.join(", ")))
            .fix(format!("stoker show-task {}", ids.first().map_or("ID", String::as_str)))
    })
    .await?;
    show(context.out, &done)
}

/// Units come first, the action is the first word that is none, parameters follow.
fn split(words: &[String]) -> Result<(Vec<String>, String, Vec<String>), Problem> {
    let is_unit = |word: &String| {
        !word.contains('=')
            && (word.parse::<UnitId>().is_ok()
                || word.strip_suffix("/leader").is_some_and(|app| !app.is_empty()))
    };
    let at = words.iter().position(|word| !is_unit(word)).unwrap_or(words.len());
    let usage = |why: &str| {
        Problem::new(codes::USAGE, format!("cannot run an action: {why}"))
            .fix("stoker run UNIT ACTION [PARAM=VALUE…]")
    };
    if at == 0 {
        return Err(usage("name a unit first, APP/N or APP/leader"));
    }
    let Some(action) = words.get(at).filter(|word| !word.contains('=')) else {
        return Err(usage("name the action after the units"));
    };
    Ok((words[..at].to_vec(), action.clone(), words[at + 1..].to_vec()))
}

/// The parameters; those of type `file` become absolute paths that exist.
async fn params(
    client: &Client,
    units: &[String],
    action: &str,
    arguments: &Arguments,
    pairs: &[String],
) -> Result<BTreeMap<String, Value>, Problem> {
    let mut params = match &arguments.params {
        Some(file) => source::options_file(file, action)?,
        None => BTreeMap::new(),
    };
    for text in pairs {
        let (name, value) = source::pair(text)?;
        let value = if arguments.string_args { Value::String(value) } else { scalar(&value) };
        params.insert(name, value);
    }
    if params.is_empty() {
        return Ok(params);
    }
    let app = units[0].split('/').next().unwrap_or_default();
    let actions: Value = client.get(client.at(&["applications", app, "actions"])).await?;
    let known = &actions[action]["params"];
    for (name, value) in &mut params {
        if known[name.as_str()]["type"] == "file" {
            let path = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            *value = Value::String(source::existing(&path)?);
        }
    }
    Ok(params)
}

/// `3`, `true`, `[a, b]` are what YAML says; anything it does not take is text.
fn scalar(text: &str) -> Value {
    source::yaml::<Value>(text)
        .ok()
        .filter(|value| !value.is_null())
        .unwrap_or_else(|| Value::String(text.into()))
}

async fn wait(
    context: &Context,
    client: &Client,
    ids: &[u64],
    timeout: Option<Duration>,
) -> Result<Vec<ActionDoc>, Problem> {
    let start = Instant::now();
    let mut shown = Shown::new(context.out);
    let mut done = Vec::new();
    for id in ids {
        loop {
            let left = timeout.map_or(ASK, |timeout| timeout.saturating_sub(start.elapsed()).min(ASK));
            let mut url = client.at(&["actions", &id.to_string()]);
            url.query_pairs_mut().append_pair("wait", &left.as_millis().to_string());
            let action: ActionDoc = client.get(url).await?;
            if matches!(action.status.as_str(), "completed" | "failed" | "cancelled") {
                done.push(action);
                break;
            }
            shown.pending(&[format!("action {id} on {}: {}", action.unit, action.status)]);
            if timeout.is_some_and(|timeout| start.elapsed() >= timeout) {
                return Err(Problem::new(
                    codes::NOT_SETTLED,
                    format!("action {id} did not end in time: it goes on"),
                )
                .fix(format!("stoker show-task {id}")));
            }
        }
    }
    Ok(done)
}

fn show(out: Out, done: &[ActionDoc]) -> Result<(), End> {
    if out.format == Format::Tabular {
        let one = done.len() == 1;
        let text: String = done
            .iter()
            .map(|action| if one { plain(action) } else { format!("{}:\n{}", action.unit, plain(action)) })
            .collect();
        Out::payload(&text)?;
    } else {
        let all: Map<String, Value> =
            done.iter().map(|action| (action.unit.clone(), document(action))).collect();
        out.document(&all)?;
    }
    let failed: Vec<&ActionDoc> = done.iter().filter(|action| action.status != "completed").collect();
    let Some(first) = failed.first() else { return Ok(()) };
    let said: Vec<String> =
        failed.iter().map(|action| format!("{}: {}", action.unit, action.message)).collect();
    let end = first
        .output
        .lines()
        .rev()
        .take(10)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect::<Vec<_>>()
        .join("\n");
    Err(Problem::new(codes::FAILED, format!("action `{}` failed", first.action))
        .evidence(said.join("\n"))
        .evidence(end)
        .fix(format!("stoker show-task {}", first.id))
        .into())
}

/// Juju's shape of one unit's action.
pub(super) fn document(action: &ActionDoc) -> Value {
    let mut results = match &action.results {
        Value::Object(map) => map.clone(),
        Value::Null => Map::new(),
        other => Map::from_iter([("result".to_owned(), other.clone())]),
    };
    if let Some(exit) = action.exit {
        results.entry("return-code").or_insert(json!(exit));
    }
    json!({
        "id": action.id.to_string(), "unit": action.unit, "action": action.action, "status": action.status,
        "results": results, "message": action.message, "output": action.output, "timing": action.timing,
    })
}

/// An action's result for people: its results, line by line, or its output where it has none.
pub(super) fn plain(action: &ActionDoc) -> String {
    let mut text = String::new();
    match &action.results {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                if value.contains('\n') {
                    let lines = clean_lines(&value).replace('\n', "\n  ");
                    let _ = writeln!(text, "{}: |\n  {lines}", clean(name));
                } else {
                    let _ = writeln!(text, "{}: {}", clean(name), clean(&value));
                }
            }
        }
        Value::Object(_) | Value::Null => text = clean_lines(&action.output) + "\n",
        Value::String(result) => text = clean_lines(result) + "\n",
        other => text = format!("{other}\n"),
    }
    if !matches!(action.status.as_str(), "completed" | "failed") {
        let _ = writeln!(text, "status: {}", clean(&action.status));
    }
    if text.trim().is_empty() { String::new() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn units_then_the_action_then_parameters() {
        let (units, action, pairs) = split(&words("web/0 web/leader backup a=web/1 b=2")).unwrap();
        assert_eq!(
            (units, action, pairs),
            (words("web/0 web/leader"), "backup".into(), words("a=web/1 b=2"))
        );
        assert_eq!(split(&words("backup web/0")).unwrap_err().exit_code(), 2);
        assert_eq!(split(&words("web/0 a=1")).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn values_are_yaml_scalars() {
        assert_eq!(scalar("3"), json!(3));
        assert_eq!(scalar("true"), json!(true));
        assert_eq!(scalar("/a b: c: d"), json!("/a b: c: d"));
        assert_eq!(scalar(""), json!(""));
        assert_eq!(scalar("3.5.9"), json!("3.5.9"));
        assert_eq!(scalar("no"), json!("no"));
    }

    #[test]
    fn a_failed_action_exits_1_and_the_document_is_jujus() {
        let mut action = ActionDoc {
            id: 4,
            unit: "web/0".into(),
            action: "backup".into(),
            status: "completed".into(),
            exit: Some(0),
            results: json!({"size": 3, "log": "a\nb"}),
            ..ActionDoc::default()
        };
        assert_eq!(plain(&action), "log: |\n  a\n  b\nsize: 3\n");
        let document = document(&action);
        assert_eq!((&document["id"], &document["results"]["return-code"]), (&json!("4"), &json!(0)));
        action.status = "failed".into();
        let out = Out { format: Format::Tabular, quiet: true };
        let Err(End::Problem(problem)) = show(out, &[ActionDoc { results: Value::Null, ..action }]) else {
            panic!()
        };
        assert_eq!(problem.exit_code(), 1);
    }
}
