//! The actions: each is one task over the plan's trees and files.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use stoker_charm::plan::{Plan, Task};
use stoker_charm::serde_json::Value;

use super::{Scene, USER, daemons, tasks};

/// The plan of an action's run.
pub(super) fn plan(scene: &Scene<'_>) -> anyhow::Result<Plan> {
    let action = scene.seen.action.as_ref().context("no action is asked for")?;
    let http = scene.cluster.http.as_ref().filter(|_| scene.cluster.formatted);
    let http = http.context("the filesystem is not there yet")?;
    let param = |name: &str, default: &str| match action.params.get(name) {
        Some(Value::String(text)) if !text.is_empty() => text.replace("${", "$${"),
        _ => default.to_owned(),
    };
    let jvm = |name: &'static str, value: String| {
        let mut arguments =
            vec![("java", daemons::java(scene)), ("classpath", daemons::classpath("client")), (name, value)];
        arguments.extend(daemons::quick_options(scene).into_iter().map(|option| ("option", option)));
        arguments
    };
    let (arguments, files) = match action.name.as_str() {
        "report" => (vec![("namenode", format!("http://{http}"))], Vec::new()),
        "safemode" => (jvm("action", param("action", "get")), vec!["client".to_owned()]),
        "fsck" => (jvm("path", param("path", "/")), vec!["client".to_owned()]),
        other => bail!("there is no action `{other}`"),
    };
    let env = if files.is_empty() { BTreeMap::new() } else { daemons::environment(scene, "client") };
    let (trees, dirs) =
        if files.is_empty() { (vec!["charm"], vec![]) } else { (vec!["charm", "hadoop"], vec!["tmp"]) };
    let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let task = Task {
        command: tasks::own(&action.name, &arguments),
        env,
        user: Some(USER.to_owned()),
        trees: own(trees),
        dirs: own(dirs),
        files,
        timeout: Some(if action.name == "fsck" { "1h" } else { "2m" }.to_owned()),
        ..Task::default()
    };
    Ok(Plan { action: Some(task), ..scene.plan() })
}
