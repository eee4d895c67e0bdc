//! `stoker config`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::out::clean_lines;
use super::table::{Table, cut, terminal_width};
use super::writing::{self, Writing};
use super::{Context, End, source};
use crate::api::types::{OptionDoc, Write};
use crate::problem::{Problem, codes};
use stoker_model::strict;

/// Show or set an application's options
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker config web
  stoker config web port=8080 motd=@motd.txt --reset workers --preview")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// OPTION to show one, OPTION=VALUE or OPTION=@FILE to set
    #[arg(value_name = "OPTION[=VALUE]")]
    options: Vec<String>,
    /// A YAML file of options to set
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Options to put back to their defaults
    #[arg(long, value_name = "OPTION", value_delimiter = ',')]
    reset: Vec<String>,
    #[command(flatten)]
    writing: Writing,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let Arguments { app, options, file, reset, writing } = arguments;
    let sets = file.is_some() || !reset.is_empty() || options.iter().any(|option| option.contains('='));
    if !sets {
        return show(context, &app, &options).await;
    }
    let mut set: BTreeMap<String, Value> = match &file {
        Some(file) => source::options_file(file, &app)?,
        None => BTreeMap::new(),
    };
    for option in &options {
        let (name, value) = source::pair(option)?;
        set.insert(name, source::option_value(&value)?);
    }
    if let Some(name) = reset.iter().find(|name| set.contains_key(*name)) {
        return Err(Problem::new(codes::USAGE, format!("cannot set and reset `{name}` at once"))
            .fix("give it once")
            .into());
    }
    writing::write(context, Write::Config { app, set, reset }, &writing).await
}

async fn show(context: &Context, app: &str, names: &[String]) -> Result<(), End> {
    let client = context.client()?;
    let options: Vec<OptionDoc> = client.get(client.at(&["applications", app, "config"])).await?;
    let known = || options.iter().map(|option| option.name.as_str());
    let mut chosen = Vec::new();
    for name in names {
        let Some(option) = options.iter().find(|option| option.name == *name) else {
            let problem =
                Problem::new(codes::NOT_FOUND, format!("cannot show `{name}`: `{app}` has no such option"));
            return Err(match strict::nearest(name, known()) {
                Some(near) => problem.fix(format!("stoker config {app} {near}")),
                None => problem.fix(format!("stoker config {app}")),
            }
            .into());
        };
        chosen.push(option);
    }
    if let [option] = chosen[..] {
        return context.out.show(&option.value, |value| clean_lines(&plain(value)) + "\n");
    }
    let shown: Vec<&OptionDoc> = if chosen.is_empty() { options.iter().collect() } else { chosen };
    context.out.show(&document(app, &shown), |_| table(&shown))
}

/// Juju's shape.
fn document(app: &str, options: &[&OptionDoc]) -> Value {
    let settings: serde_json::Map<String, Value> = options
        .iter()
        .map(|option| {
            let settings = json!({
                "default": option.default, "description": option.description, "source": option.source,
                "type": option.kind, "value": option.value,
            });
            (option.name.clone(), settings)
        })
        .collect();
    json!({ "application": app, "settings": settings })
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn table(options: &[&OptionDoc]) -> String {
    let mut table = Table::new(&["Option", "Value", "1Source", "3Type", "2Description"]);
    for option in options {
        table.row([
            option.name.clone(),
            cut(&plain(&option.value), 60),
            option.source.clone(),
            option.kind.clone(),
            option.description.clone(),
        ]);
    }
    if table.is_empty() { "it has no options\n".to_owned() } else { table.render(terminal_width()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_jujus() {
        let option = OptionDoc {
            name: "port".into(),
            kind: "int".into(),
            value: json!(80),
            default: json!(8080),
            source: "user".into(),
            description: "Where it listens".into(),
        };
        assert_eq!(
            document("web", &[&option]),
            json!({"application": "web", "settings": {"port": {
                "default": 8080, "description": "Where it listens", "source": "user", "type": "int", "value": 80}}})
        );
        assert_eq!(plain(&json!("a b")), "a b");
        assert!(table(&[&option]).starts_with("Option  Value  Source  Type  Description\n"));
    }
}
