//! `stoker releases`: an application's releases, and how two of them differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::diff::{parted, unified};
use super::table::{Table, terminal_width};
use super::{Context, End};
use crate::api::types::ReleaseDoc;
use crate::problem::{Problem, codes};

/// Show an application's releases: when, who, what
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  stoker releases web
  stoker releases web --diff 1 3  # what differs between two of them")]
pub(crate) struct Arguments {
    /// The application
    app: String,
    /// What differs from one release to another
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    diff: Option<Vec<u64>>,
}

/// What differs between two releases of an application.
#[derive(Debug, Serialize)]
struct Comparison {
    application: String,
    from: u64,
    to: u64,
    differences: Vec<Difference>,
}

/// One thing that differs; `null` = it is not there, for an option its default.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    /// `charm`, `resource NAME` or `option NAME`.
    what: String,
    before: Value,
    after: Value,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<(), End> {
    let client = context.client()?;
    let releases: Vec<ReleaseDoc> =
        client.get(client.at(&["applications", &arguments.app, "releases"])).await?;
    let Some([from, to]) = arguments.diff.as_deref() else {
        return context.out.show(&releases, |releases| table(releases));
    };
    let one = |n: u64| find(&releases, &arguments.app, n);
    let differences = differences(one(*from)?, one(*to)?);
    let document = Comparison { application: arguments.app.clone(), from: *from, to: *to, differences };
    context.out.show(&document, text)
}

fn find<'a>(releases: &'a [ReleaseDoc], app: &str, n: u64) -> Result<&'a ReleaseDoc, Problem> {
    releases.iter().find(|release| release.release == n).ok_or_else(|| {
        let numbers: Vec<String> = releases.iter().map(|release| release.release.to_string()).collect();
        let why = format!(
            "cannot compare releases of `{app}`: there is no release {n}, only {}",
            numbers.join(", ")
        );
        Problem::new(codes::NOT_FOUND, why).fix(format!("stoker releases {app}"))
    })
}

fn differences(from: &ReleaseDoc, to: &ReleaseDoc) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut add = |what: String, before: Option<&Value>, after: Option<&Value>| {
        if before != after {
            let value = |value: Option<&Value>| value.cloned().unwrap_or_default();
            all.push(Difference { what, before: value(before), after: value(after) });
        }
    };
    let text = |text: &String| Value::String(text.clone());
    add("charm".to_owned(), Some(&text(&from.charm)), Some(&text(&to.charm)));
    let resources = |release: &ReleaseDoc| -> BTreeMap<String, Value> {
        release.resources.iter().map(|(name, what)| (name.clone(), text(what))).collect()
    };
    for (kind, before, after) in
        [("resource", resources(from), resources(to)), ("option", from.config.clone(), to.config.clone())]
    {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            add(format!("{kind} {name}"), before.get(name), after.get(name));
        }
    }
    all
}

fn text(document: &Comparison) -> String {
    let Comparison { application, from, to, differences } = document;
    if differences.is_empty() {
        return format!("releases {from} and {to} of {application} are the same\n");
    }
    let mut lines = Vec::new();
    for Difference { what, before, after } in differences {
        match (before, after) {
            (Value::String(a), Value::String(b)) if a.contains('\n') || b.contains('\n') => {
                lines.push(format!("{what}:"));
                lines.extend(unified(a, b).iter().map(|line| format!("  {line}")));
            }
            _ => {
                let none = if what.starts_with("option ") { "default" } else { "none" };
                let (a, b) = parted(&shown(before, none), &shown(after, none));
                lines.push(format!("{what}: {a} → {b}"));
            }
        }
    }
    lines.join("\n") + "\n"
}

fn shown(value: &Value, none: &str) -> String {
    match value {
        Value::Null => none.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn table(releases: &[ReleaseDoc]) -> String {
    let mut table = Table::new(&["Release", "3Time", "2By", "Resources", "Units", "Difference", "1Command"]);
    for release in releases {
        let resources: Vec<String> =
            release.resources.iter().map(|(name, what)| format!("{name} {what}")).collect();
        table.row([
            release.release.to_string(),
            release.time.clone(),
            release.by.clone(),
            resources.join(", "),
            release.units.len().to_string(),
            release.difference.join("; "),
            release.command.clone(),
        ]);
    }
    table.render(terminal_width())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(n: u64, version: &str, config: Value) -> ReleaseDoc {
        ReleaseDoc {
            release: n,
            charm: "b3:00".into(),
            resources: [("web".to_owned(), version.to_owned())].into(),
            config: serde_json::from_value(config).unwrap(),
            ..ReleaseDoc::default()
        }
    }

    #[test]
    fn what_differs_is_told_both_ways() {
        let one = release(1, "1 (1.0)", json!({"same": 1, "lines": "a\nb\n"}));
        let two = release(2, "2 (2.0)", json!({"same": 1, "lines": "a\nc\n", "new": true}));
        let found = differences(&one, &two);
        let document = Comparison { application: "web".into(), from: 1, to: 2, differences: found };
        let said = "resource web: 1 (1.0) → 2 (2.0)\noption lines:\n    a\n  - b\n  + c\noption new: default → true\n";
        assert_eq!(text(&document), said);
        let back = differences(&two, &one);
        assert_eq!(back.len(), 3);
        assert!(
            back.iter().zip(&document.differences).all(|(b, a)| b.before == a.after && b.after == a.before)
        );
        let same = Comparison { differences: differences(&one, &one), from: 1, to: 1, ..document };
        assert_eq!(text(&same), "releases 1 and 1 of web are the same\n");
        assert_eq!(find(&[one, two], "web", 3).unwrap_err().exit_code(), 5);
    }
}
