//! Observation to plan. Owns which parts a plan has and its status; each part is made in a module of its own.
//! The server stays up while its cluster comes, changes and goes: only what it starts with is its input, kernels
//! are files that it follows.

mod cluster;
mod kernels;
mod server;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};
use stoker_charm::observation::{Facts, Life, Observation};
use stoker_charm::plan::{Dir, Plan, Port, Published, Secret, Task, Tree};
use stoker_charm::status::{State, Status};

use self::cluster::Cluster;
use crate::options::{Options, Wrong};
use crate::url::TOKEN;

/// The charm's user.
const USER: &str = "jupyter";
/// Key of `state.unit`: the environment that kernels were last offered with.
const OFFERED: &str = "offered";
/// Key of `state.unit`: the data of clusters by key, of the present one and of those that kernels hold.
const CLUSTERS: &str = "clusters";
/// The task that tells what kernels hold.
const HOLDS: &str = "holds";

/// The plan.
#[allow(clippy::unnecessary_wraps, reason = "the SDK calls it; other charms can fail")]
pub(crate) fn plan(seen: &Observation) -> Result<Plan> {
    if seen.life == Life::Dying {
        // What is in the plan stays; a removed server that is still busy is waited for by the agent.
        return Ok(Plan { gone: true, ..Plan::default() });
    }
    let (options, wrong) = Options::read(seen);
    let mut out = Plan { state: seen.state.clone(), ..Plan::default() };
    out.secrets.insert(
        "token".into(),
        Secret { generate: Some("hex32".into()), scope: Some("app".into()), ..Secret::default() },
    );
    // First, so that it may be taken whole: notebooks are the user's data.
    out.dirs.insert("work".into(), dir("0750", true));
    let Some(python) = seen.resources.get("python") else {
        out.status = Status::new(State::Blocked, "attach a Python environment")
            .fix(format!("stoker attach-resource {} python=recipe:4.6", seen.app));
        return Ok(out);
    };
    python.facts.details.get("packages").map_or("", |p| text(p, "jupyterlab")).clone_into(&mut out.version);
    out.trees.insert("python".into(), base(&python.build));
    if let Ok(charm) = seen.charm.parse() {
        out.trees.insert("charm".into(), base(&charm));
    }
    out.dirs.insert("home".into(), dir("0700", false));
    out.dirs.insert("local".into(), dir("0700", false));
    out.ports.insert("lab".into(), Port { prefer: options.port, ..Port::default() });
    out.ports
        .insert("driver".into(), Port { prefer: 25_000, count: options.driver_ports(), ..Port::default() });

    let cluster = cluster::find(seen);
    if let Ok(Some(cluster)) = &cluster {
        publish(seen, cluster.relation, &mut out);
    } else if let Err(gap) = &cluster {
        publish(seen, gap.relation, &mut out);
    }
    let offered = match &cluster {
        Ok(Some(cluster)) => kernels::offer(seen, &options, cluster, &python.build.to_string(), &mut out),
        Ok(None) => Ok(()),
        Err(gap) => Err(gap.status.clone()),
    };
    server::add(&options, &mut out);
    if seen.charm.parse::<stoker_charm::ids::Digest>().is_ok() && !out.relations.is_empty() {
        out.tasks.insert(HOLDS.into(), ask_holds());
    }
    if seen.action.as_ref().is_some_and(|action| action.name == "url") {
        out.action = Some(url());
    }
    out.status = status(seen, cluster.ok().flatten().as_ref(), offered);
    if let Some(why) = environment_gap(seen, &python.facts) {
        // A server on the wrong interpreter would only fail at its first import.
        out.hold = Some(why.message.clone());
        out.status = why;
    } else if let Some(Wrong { option, why }) = wrong.first() {
        let message = format!("cannot use the option {option}: {why}");
        out.hold = Some(message.clone());
        out.status =
            Status::new(State::Blocked, message).fix(format!("stoker config {} {option}=…", seen.app));
    }
    Ok(out)
}

fn status(seen: &Observation, cluster: Option<&Cluster>, offered: Result<(), Status>) -> Status {
    match (cluster, offered) {
        (_, Err(gap)) => gap,
        (Some(cluster), Ok(())) => {
            Status::new(State::Active, format!("PySpark {} on {}", cluster.version, cluster.app))
        }
        (None, Ok(())) => {
            Status::new(State::Active, "no Spark related").fix(format!("stoker integrate {} spark", seen.app))
        }
    }
}

/// The keys of what living kernels began on; `None` while that is not known.
fn holds(seen: &Observation) -> Option<Vec<String>> {
    let told = seen.tasks.get(HOLDS)?.result.get(HOLDS)?.as_array()?;
    Some(told.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect())
}

/// Asks, again and again, which kernels live.
fn ask_holds() -> Task {
    Task {
        command: ["${tree:charm}/bin/jupyter", HOLDS, "${dir:home}/slots"].map(Into::into).to_vec(),
        user: Some(USER.into()),
        trees: vec!["charm".into()],
        dirs: vec!["home".into()],
        // What it said holds whichever charm asked.
        key: Some(HOLDS.into()),
        every: Some("15s".into()),
        timeout: Some("30s".into()),
        ..Task::default()
    }
}

/// What executors need to know, and whose driver it is.
fn publish(seen: &Observation, relation: u64, out: &mut Plan) {
    let user = seen.users.get(USER).map_or(USER, String::as_str);
    let mut app = BTreeMap::from([
        ("python".to_owned(), "${tree:python}".to_owned()),
        ("user".to_owned(), user.to_owned()),
    ]);
    let told = seen.relations.iter().find(|r| r.id == relation).and_then(|r| r.ours.app.get(HOLDS).cloned());
    let held = holds(seen).map_or(told, |held| (!held.is_empty()).then(|| json!(held).to_string()));
    app.extend(held.map(|held| (HOLDS.to_owned(), literal(&held))));
    out.relations.insert(relation.to_string(), Published { app, ..Published::default() });
}

/// Whether the host lacks the interpreter that the environment stands on.
fn environment_gap(seen: &Observation, facts: &Facts) -> Option<Status> {
    let stands_on = facts.requires.get("base").and_then(Value::as_str)?;
    let (minor, prefix) = stands_on.strip_prefix("CPython ")?.split_once(" at ")?;
    let bin = format!("{}/bin/", prefix.trim_end_matches('/'));
    let found = seen.host.python.iter().any(|p| p.version == minor && p.path.starts_with(&bin));
    // A host whose interpreters are not known is not judged.
    (!found && !seen.host.python.is_empty()).then(|| {
        Status::new(
            State::Blocked,
            format!("the Python environment stands on {stands_on}, which this host does not have"),
        )
        .fix(format!("install python{minor}, or: stoker attach-resource {} python=recipe:4.6", seen.app))
    })
}

fn url() -> Task {
    Task {
        command: ["${tree:charm}/bin/jupyter", "url", server::BASE, server::PYTHON].map(Into::into).to_vec(),
        env: BTreeMap::from([(TOKEN.into(), "${secret:token}".into())]),
        user: Some(USER.into()),
        trees: vec!["charm".into()],
        timeout: Some("30s".into()),
        ..Task::default()
    }
}

fn dir(mode: &str, keep: bool) -> Dir {
    Dir { user: Some(USER.into()), mode: Some(mode.into()), keep, ..Dir::default() }
}

fn base(digest: &stoker_charm::ids::Digest) -> Tree {
    Tree { base: digest.clone(), drop: Vec::new(), take: Vec::new() }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A text of somebody else's, so that nothing in it is taken for a placeholder.
fn literal(text: &str) -> String {
    text.replace("${", "$${")
}
