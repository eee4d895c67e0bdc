//! The tree that a decision makes, and the tasks that prove it: the canary runs the client against the HDFS, the link
//! check reads what calls it. Owns their keys, commands and trees; must not decide.

use std::collections::BTreeMap;

use stoker_charm::ids::Digest;
use stoker_charm::observation::{Observation, TaskState};
use stoker_charm::plan::{Take, Task, Tree};

use super::super::build::Spark;
use super::super::jars::{self, Jars};
use super::super::{Scene, USER};
use super::{Alignment, Keep, is_key};
use crate::align::{CANDIDATE, CHECKER, Client, Found, LINK, S3a, Shape, Version};

/// The task that proves a tree.
pub(super) const CANARY: &str = "canary";
/// The tree of a client whose canary failed.
const FAILED: &str = "failed";

/// A link check.
pub(in crate::plan) struct Link {
    /// The client that is thought of; none = the shipped one alone, for the user's jars.
    pub(in crate::plan) client: Option<Client>,
    /// What its result holds for.
    pub(in crate::plan) key: String,
    /// The shipped client's jars, as paths in the tree.
    pub(in crate::plan) shipped: Vec<String>,
    users: Option<Jars>,
}

impl Link {
    /// What there is to link: a client in the place of another, jars that came to it.
    pub(super) fn of(spark: &Spark, client: Option<Client>, users: Option<Jars>) -> Option<Self> {
        if spark.shape == Shape::Provided || (client.is_none() && users.is_none()) {
            return None;
        }
        let text = format!(
            "{CHECKER} {} {} {}",
            spark.build,
            client.as_ref().map_or("shipped", |client| &client.build),
            users.as_ref().map_or("none".to_owned(), |jars| jars.build.to_string())
        );
        let shipped = if spark.shape == Shape::Shaded { &spark.client_jars } else { &spark.hadoop_jars };
        Some(Self { client, key: Digest::of(text.as_bytes()).to_string(), shipped: shipped.clone(), users })
    }

    /// What it found.
    pub(super) fn found(&self, seen: &Observation) -> Option<Found> {
        let task = seen.tasks.get(LINK).filter(|task| is_key(&task.key, &self.key))?;
        let done = task.state == TaskState::Done;
        let found: Option<Found> = done.then(|| serde_json::from_value(task.result.clone()).ok())?;
        found.filter(|found| found.checker == CHECKER)
    }

    fn task(&self, before_move: bool) -> Task {
        let tree = if self.client.is_some() { LINK } else { "spark" };
        let mut command = vec![
            "${tree:charm}/bin/spark".to_owned(),
            LINK.to_owned(),
            format!("${{tree:{tree}}}"),
            self.shipped.join(","),
        ];
        let mut trees = vec!["charm".to_owned(), tree.to_owned()];
        if let Some(users) = &self.users {
            command.push(users.path());
            trees.push(jars::TREE.to_owned());
        }
        Task {
            when: before_move.then(|| "before-move".to_owned()),
            once: Some("app".to_owned()),
            key: Some(self.key.clone()),
            command,
            user: Some(USER.to_owned()),
            trees,
            timeout: Some("5m".to_owned()),
            retry: 1,
            ..Task::default()
        }
    }
}

/// What of a build goes, and what comes in its place, with a client.
#[derive(Default)]
pub(super) struct Exchanged {
    drop: Vec<String>,
    take: Vec<Take>,
    /// What there is for S3 then; none where nothing of it is exchanged.
    pub(super) s3a: Option<S3a>,
}

/// The companions of a client that stand in for those of a Spark build, where both have them: each is for its own version
/// of Hadoop alone.
pub(super) fn exchanged(spark: &Spark, client: &Client) -> Exchanged {
    let mut out = Exchanged::default();
    let Ok(from) = client.build.parse::<Digest>() else { return out };
    let mut exchange = |names: &[&str]| {
        let there = names.iter().all(|name| client.companions.contains_key(*name));
        if !there || !spark.companions.contains_key(names[0]) {
            return false;
        }
        out.drop.extend(names.iter().filter_map(|name| spark.companions.get(*name)).cloned());
        out.take.extend(names.iter().filter_map(|name| client.companions.get(*name)).map(|path| Take {
            from: from.clone(),
            path: path.clone(),
            to: format!("jars/{}", path.rsplit('/').next().unwrap_or(path)),
        }));
        true
    };
    exchange(&["web-proxy"]);
    let newer = Version::read(&client.version).is_some_and(|version| version.at_least(3, 4));
    let (sdk, major) = if newer { ("aws-sdk-2", 2) } else { ("aws-sdk-1", 1) };
    if exchange(&["hadoop-aws", sdk]) {
        out.s3a = Some(S3a { aws: Some(client.version.clone()), sdks: vec![major] });
    }
    out
}

/// The two jars of a Hadoop build's client, put below a folder.
fn client_jars(client: &Client, folder: &str) -> Vec<Take> {
    let Ok(from) = client.build.parse::<Digest>() else { return Vec::new() };
    let released = ["api", "runtime"]
        .map(|part| format!("share/hadoop/client/hadoop-client-{part}-{}.jar", client.version));
    let jars = if client.jars.is_empty() { released.to_vec() } else { client.jars.clone() };
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    jars.into_iter()
        .map(|path| Take { from: from.clone(), to: format!("{folder}/{}", name(&path)), path })
        .collect()
}

impl Alignment {
    /// Spark's tree, and Hadoop's where Spark takes its client from there at run time.
    pub(in crate::plan) fn trees(&self, spark: &Spark) -> BTreeMap<String, Tree> {
        let plain = Tree { base: spark.build.clone(), drop: Vec::new(), take: Vec::new() };
        let swapped = |client: &Client| {
            let mut tree = Tree { take: client_jars(client, "jars"), ..plain.clone() };
            if !tree.take.is_empty() {
                let companions = exchanged(spark, client);
                tree.drop = [spark.client_jars.clone(), companions.drop].concat();
                tree.take.extend(companions.take);
            }
            tree
        };
        let mut trees = BTreeMap::new();
        let tree = match &self.keep {
            Keep::Shipped => plain.clone(),
            Keep::Swap(client) => swapped(client),
            Keep::Provide(client) => {
                if let Ok(base) = client.build.parse() {
                    trees.insert("hadoop".to_owned(), Tree { base, drop: Vec::new(), take: Vec::new() });
                }
                plain.clone()
            }
        };
        trees.insert("spark".to_owned(), tree);
        if let Some((client, _)) = &self.failed {
            trees.insert(FAILED.to_owned(), swapped(client));
        }
        if let Some(client) = self.link.as_ref().and_then(|link| link.client.as_ref()) {
            let tree =
                Tree { drop: exchanged(spark, client).drop, take: client_jars(client, CANDIDATE), ..plain };
            trees.insert(LINK.to_owned(), tree);
        }
        trees
    }

    /// Class path entries behind Spark's own.
    pub(in crate::plan) fn provided_classpath(&self) -> Option<String> {
        let share = "${tree:hadoop}/share/hadoop";
        matches!(self.keep, Keep::Provide(_)).then(|| {
            ["common/*", "common/lib/*", "hdfs/*", "hdfs/lib/*"]
                .map(|part| format!("{share}/{part}"))
                .join(":")
        })
    }

    /// Names of the trees that Spark's processes need.
    pub(in crate::plan) fn tree_names(&self) -> Vec<String> {
        let names: &[&str] =
            if matches!(self.keep, Keep::Provide(_)) { &["spark", "hadoop"] } else { &["spark"] };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The tasks that prove the client. What is exchanged is proven before anything moves to it.
    pub(in crate::plan) fn tasks(&self, scene: &Scene<'_>) -> BTreeMap<String, Task> {
        let moves = self.keep != Keep::Shipped && self.failed.is_none();
        let canary = self.canary(scene, moves).map(|task| (CANARY.to_owned(), task));
        let link =
            self.link.as_ref().map(|link| (LINK.to_owned(), link.task(moves && link.client.is_some())));
        canary.into_iter().chain(link).collect()
    }

    fn canary(&self, scene: &Scene<'_>, moves: bool) -> Option<Task> {
        let (key, tree) = match (&self.failed, &self.proof) {
            (Some((_, key)), _) => (key, FAILED),
            (None, Some(key)) => (key, "spark"),
            (None, None) => return None,
        };
        let folder = scene.config.canary_folder.clone();
        let root = scene.hdfs.as_ref().map_or("", |hdfs| hdfs.folder.as_str());
        let folder = folder.unwrap_or_else(|| format!("{root}/user/{}/.stoker-canary", scene.system_user()));
        let mut classpath = vec![
            "${tree:charm}/lib/canary".to_owned(),
            "${file:hadoop}".to_owned(),
            format!("${{tree:{tree}}}/jars/*"),
        ];
        classpath.extend(self.provided_classpath());
        let mut command = vec![format!("{}/bin/java", scene.java.home)];
        command.extend(
            ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp"].map(ToOwned::to_owned),
        );
        command.extend([classpath.join(":"), "StokerCanary".to_owned(), folder]);
        let mut trees = self.tree_names();
        trees.push("charm".to_owned());
        if self.failed.is_some() {
            trees.push(FAILED.to_owned());
        }
        Some(Task {
            when: moves.then(|| "before-move".to_owned()),
            once: Some("app".to_owned()),
            key: Some(key.clone()),
            command,
            user: Some(USER.to_owned()),
            trees,
            files: vec!["hadoop".to_owned()],
            timeout: Some("60s".to_owned()),
            retry: 1,
            ..Task::default()
        })
    }
}
