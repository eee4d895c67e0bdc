//! The actions: each is one task over the plan's trees and files.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use stoker_charm::plan::{Plan, Task};
use stoker_charm::serde_json::Value;

use super::upgrade::{self, Verb};
use super::{Scene, USER, daemons, tasks};
use crate::java;

/// The plan of an action's run.
pub(super) fn plan(scene: &Scene<'_>) -> anyhow::Result<Plan> {
    let action = scene.seen.action.as_ref().context("no action is asked for")?;
    if let Some(verb) = Verb::of(&action.name) {
        return Ok(Plan { action: Some(request(scene, &action.name, verb)?), ..scene.plan() });
    }
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

/// Leaves a request beside the metadata, where the unit's next plans find it, and waits for its outcome.
fn request(scene: &Scene<'_>, name: &str, verb: Verb) -> anyhow::Result<Task> {
    let (seen, cluster) = (scene.seen, &scene.cluster);
    ensure!(cluster.here, "cannot {name}: ask the NameNode's unit, stoker run {} {name}", cluster.namenode);
    let possible = match (&scene.upgrade, verb) {
        (None, Verb::Upgrade) => {
            let difference = scene.difference.filter(|difference| difference.up && !scene.stays);
            let version = &scene.attached.facts.version;
            ensure!(
                difference.is_some(),
                "{}",
                match scene.difference {
                    Some(difference) => format!("cannot {name}: {}", difference.says(version)),
                    None => format!(
                        "cannot {name}: the data have the layout of Hadoop {version}, which is attached"
                    ),
                }
            );
            let range = java::range(&scene.attached.facts);
            ensure!(
                java::choose(&seen.host, range).is_some(),
                "cannot {name}: no Java for Hadoop {version} ({} or newer) is here: stoker attach-resource {} java=recipe:{}",
                range.least,
                seen.app,
                range.least.max(17)
            );
            true
        }
        (Some(upgrade), verb) => upgrade.phase.after(verb).is_some(),
        (None, _) => false,
    };
    ensure!(possible, "{}", upgrade::refusal(name, scene.upgrade.as_ref()));
    let now =
        seen.action.as_ref().and_then(|action| action.params.get("now")).is_some_and(|now| *now == true);
    let arguments = [
        ("name", "${dir:name}".to_owned()),
        ("for", seen.app_uuid.clone()),
        ("verb", name.to_owned()),
        ("after", scene.taken.to_string()),
        ("now", now.to_string()),
    ];
    Ok(Task {
        command: tasks::own("upgrade-ask", &arguments),
        user: Some(USER.to_owned()),
        trees: vec!["charm".to_owned()],
        dirs: vec!["name".to_owned()],
        timeout: Some("24h".to_owned()),
        ..Task::default()
    })
}
