//! Alignment within a plan: the leader decides and remembers, the others follow what it remembered; the tree, the
//! verdict and the canary that follow from it.
//!
//! A canary that fails under `auto` is remembered with its reason: the plan then keeps the client in use and says
//! what is lost, until the Spark build, the HDFS's build or the Java changes, or `exact` asks for it again. Under
//! `exact` the plan still wants the client, and the agent holds the move back with the canary's evidence.

use std::collections::BTreeMap;

use serde_json::Value;
use stoker_charm::digest::of_document;
use stoker_charm::ids::Digest;
use stoker_charm::observation::{Observation, ServiceState, TaskState};
use stoker_charm::plan::{Take, Task, Tree, Verdict, Work};

use super::build::Spark;
use super::hdfs::Hdfs;
use super::{Scene, Stuck, USER};
use crate::align::{Axes, Client, Decision, Keep, Level, Policy, Question, Refused, Shape, decide, level};
use crate::config::{Config, Pairs};

/// The task that proves a tree.
const CANARY: &str = "canary";
/// The tree of a client whose canary failed.
const FAILED: &str = "failed";

/// The Hadoop client that Spark has, and what is known of it.
pub(super) struct Alignment {
    keep: Keep,
    /// Its version.
    pub(super) client_version: String,
    /// How it fits the HDFS; none without one.
    pub(super) verdict: Option<Verdict>,
    /// What the leader remembers.
    pub(super) memory: Pairs,
    /// The canary's key, where there is something to prove and the HDFS can be asked.
    proof: Option<String>,
    /// The client whose canary just failed, and that canary's key: the plan goes on naming it until the refusal is
    /// remembered, since a task that it does not name is not observed.
    failed: Option<(Client, String)>,
    /// Why nothing may move yet.
    pub(super) hold: Option<String>,
}

/// Decides (the leader), or follows (the others).
pub(super) fn align(
    seen: &Observation,
    config: &Config,
    spark: &Spark,
    hdfs: Option<&Hdfs<'_>>,
    python: bool,
) -> Result<Alignment, Stuck> {
    let Some(hdfs) = hdfs else {
        if spark.shape == Shape::Provided {
            let fix = format!("stoker integrate {} hadoop", seen.app);
            return Err(Stuck::blocked(
                "this Spark build has no Hadoop client of its own: relate it to an HDFS",
                fix,
            ));
        }
        return Ok(Alignment {
            keep: Keep::Shipped,
            client_version: spark.client.clone(),
            verdict: None,
            memory: Pairs::new(),
            proof: None,
            failed: None,
            hold: None,
        });
    };
    let remembered = Remembered::read(&seen.state.app);
    let java = |client: &str| spark.java.with_client(client).pick(&seen.host.java).map(|j| j.version);
    let runs = |client: &str| java(client).is_some();
    let decided = |refused: Option<&Refusal>| {
        decide(&Question {
            policy: config.alignment,
            shape: spark.shape,
            shipped: &spark.client,
            current: remembered.client.as_ref(),
            server: &hdfs.server,
            java: &runs,
            refused: refused.map(|r| Refused { build: &r.build, why: &r.why }),
        })
    };
    if !seen.leader {
        let decision = remembered.follow(spark, hdfs)?;
        return Ok(Alignment::new(decision, spark, hdfs, python, Evidence::Read, Pairs::new(), None));
    }
    let key_of = |keep: &Keep| key(spark, keep, java(version(keep, spark)), hdfs);
    let by = format!("{} java {}", spark.build, java(&hdfs.server.version).unwrap_or_default());
    let mut refused = remembered.refusal(&by, &hdfs.server.build);
    let mut decision = decided(refused.as_ref());
    let key = key_of(&decision.keep);
    let mut failed = None;
    let tried = seen.tasks.get(CANARY).filter(|task| is_key(&task.key, &key));
    if let Some(task) = tried.filter(|t| t.state == TaskState::Bad && config.alignment == Policy::Auto)
        && let Keep::Swap(client) = &decision.keep
    {
        let why = task.result.get("reason").and_then(Value::as_str).unwrap_or(&task.reason).to_owned();
        let refusal = Refusal { build: client.build.clone(), why };
        failed = Some((client.clone(), key));
        decision = decided(Some(&refusal));
        refused = Some(refusal);
    }
    let key = key_of(&decision.keep);
    let task = seen.tasks.get(CANARY).filter(|task| is_key(&task.key, &key));
    let evidence = match task.map(|task| task.state) {
        Some(TaskState::Done) => Evidence::Run,
        Some(TaskState::Bad) => Evidence::Failed,
        _ if remembered.proven.as_ref() == Some(&key) => Evidence::Run,
        _ => Evidence::Read,
    };
    let mut memory = Pairs::from([
        ("hdfs-version".to_owned(), hdfs.server.version.clone()),
        ("hdfs-build".to_owned(), hdfs.server.build.clone()),
    ]);
    if let Keep::Swap(client) | Keep::Provide(client) = &decision.keep {
        memory.insert("client-version".to_owned(), client.version.clone());
        memory.insert("client-build".to_owned(), client.build.clone());
    }
    if let Some(refusal) = refused {
        memory.insert("refused-build".to_owned(), refusal.build);
        memory.insert("refused-by".to_owned(), by);
        memory.insert("refused-why".to_owned(), refusal.why);
    }
    if evidence == Evidence::Run {
        memory.insert("proven".to_owned(), key.clone());
    }
    let worth = decision.keep != Keep::Shipped || !decision.level.in_line();
    let askable = hdfs.ready && hdfs.own_made;
    let proof = (worth && (evidence == Evidence::Run || askable)).then_some(key);
    // What runs is not moved to a client that cannot be proven yet.
    let current = remembered.client.clone().map_or(Keep::Shipped, Keep::Swap);
    let unproven = matches!(&decision.keep, Keep::Swap(_)) && proof.is_none() && decision.keep != current;
    let hold = (unproven && running(seen)).then(|| {
        format!(
            "waiting for {} to be writable before the Hadoop client changes from {} to {}",
            hdfs.relation.remote,
            version(&current, spark),
            version(&decision.keep, spark)
        )
    });
    let aligned = Alignment::new(decision, spark, hdfs, python, evidence, memory, proof);
    Ok(Alignment { failed, hold, ..aligned })
}

/// Whether something here may already use the client.
fn running(seen: &Observation) -> bool {
    seen.services.values().any(|s| matches!(s.state, ServiceState::Ready | ServiceState::Unready))
}

fn version<'a>(keep: &'a Keep, spark: &'a Spark) -> &'a str {
    match keep {
        Keep::Shipped => &spark.client,
        Keep::Swap(client) | Keep::Provide(client) => &client.version,
    }
}

/// What a canary's result holds for: this tree on this Java against this HDFS.
fn key(spark: &Spark, keep: &Keep, java: Option<u32>, hdfs: &Hdfs<'_>) -> String {
    let client = match keep {
        Keep::Shipped => "shipped",
        Keep::Swap(client) | Keep::Provide(client) => &client.build,
    };
    let text = format!("{} {client} java {} {}", spark.build, java.unwrap_or_default(), hdfs.identity());
    Digest::of(text.as_bytes()).to_string()
}

/// Whether a task ran for our key: the agent shows it as it is, or shortened to the beginning of its digest.
fn is_key(shown: &str, ours: &str) -> bool {
    shown == ours
        || (shown.len() >= 32 && of_document(&ours).is_ok_and(|digest| digest.hex().starts_with(shown)))
}

/// What is known of a client beside reading its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    Read,
    Run,
    Failed,
}

/// A client that failed its canary.
struct Refusal {
    build: String,
    why: String,
}

/// What the leader remembered.
struct Remembered<'a> {
    app: &'a Pairs,
    client: Option<Client>,
    proven: Option<String>,
}

impl<'a> Remembered<'a> {
    fn read(app: &'a Pairs) -> Self {
        let client = app.get("client-version").zip(app.get("client-build"));
        let client = client.map(|(version, build)| Client { version: version.clone(), build: build.clone() });
        Self { app, client, proven: app.get("proven").cloned() }
    }

    /// The client that failed, where it still is one that could be used, with the Spark and Java that it failed with.
    fn refusal(&self, by: &str, server: &str) -> Option<Refusal> {
        let build = self.app.get("refused-build")?;
        let current = self.client.as_ref().map(|client| client.build.as_str());
        let same = self.app.get("refused-by")? == by && (build == server || Some(build.as_str()) == current);
        let why = self.app.get("refused-why")?.clone();
        same.then(|| Refusal { build: build.clone(), why })
    }

    /// What a unit that does not lead has: the leader's client.
    fn follow(&self, spark: &Spark, hdfs: &Hdfs<'_>) -> Result<Decision, Stuck> {
        if !self.app.contains_key("hdfs-version") {
            return Err(Stuck::waiting("waiting for the leader to decide on the Hadoop client"));
        }
        let keep = match (&self.client, spark.shape) {
            (Some(client), Shape::Provided) => Keep::Provide(client.clone()),
            (Some(client), Shape::Shaded) if client.version != spark.client => Keep::Swap(client.clone()),
            (None, Shape::Provided) => {
                return Err(Stuck::waiting("waiting for the leader to decide on the Hadoop client"));
            }
            _ => Keep::Shipped,
        };
        let client = version(&keep, spark);
        let level = level(client, &hdfs.server.version, Axes::CLEAR);
        let says = format!("client {client} beside HDFS {}, as the leader decided", hdfs.server.version);
        Ok(Decision { keep, level, says, fix: String::new() })
    }
}

impl Alignment {
    fn new(
        decision: Decision,
        spark: &Spark,
        hdfs: &Hdfs<'_>,
        python: bool,
        evidence: Evidence,
        memory: Pairs,
        proof: Option<String>,
    ) -> Self {
        let client_version = version(&decision.keep, spark).to_owned();
        let level = if python { decision.level } else { decision.level.max(Level::PythonBlocked) };
        let verdict = Verdict {
            subject: "spark".to_owned(),
            relation: Some(hdfs.relation.id),
            level: level.word().to_owned(),
            works: works(&decision, spark, &client_version, evidence, python),
            says: decision.says,
            fix: decision.fix,
        };
        Self {
            keep: decision.keep,
            client_version,
            verdict: Some(verdict),
            memory,
            proof,
            failed: None,
            hold: None,
        }
    }

    /// Spark's tree, and Hadoop's where Spark takes its client from there at run time.
    pub(super) fn trees(&self, spark: &Spark) -> BTreeMap<String, Tree> {
        let plain = Tree { base: spark.build.clone(), drop: Vec::new(), take: Vec::new() };
        let swapped = |client: &Client| {
            let mut tree = plain.clone();
            if let Ok(from) = client.build.parse::<Digest>() {
                tree.drop.clone_from(&spark.client_jars);
                tree.take = ["api", "runtime"]
                    .map(|part| format!("hadoop-client-{part}-{}.jar", client.version))
                    .map(|jar| Take {
                        from: from.clone(),
                        path: format!("share/hadoop/client/{jar}"),
                        to: format!("jars/{jar}"),
                    })
                    .into();
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
        trees
    }

    /// Class path entries behind Spark's own.
    pub(super) fn provided_classpath(&self) -> Option<String> {
        let share = "${tree:hadoop}/share/hadoop";
        matches!(self.keep, Keep::Provide(_)).then(|| {
            ["common/*", "common/lib/*", "hdfs/*", "hdfs/lib/*"]
                .map(|part| format!("{share}/{part}"))
                .join(":")
        })
    }

    /// Names of the trees that Spark's processes need.
    pub(super) fn tree_names(&self) -> Vec<String> {
        let names: &[&str] =
            if matches!(self.keep, Keep::Provide(_)) { &["spark", "hadoop"] } else { &["spark"] };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The task that proves the client against the HDFS. What is exchanged is proven before anything moves to it.
    pub(super) fn canary(&self, scene: &Scene<'_>) -> BTreeMap<String, Task> {
        let (key, tree) = match (&self.failed, &self.proof) {
            (Some((_, key)), _) => (key, FAILED),
            (None, Some(key)) => (key, "spark"),
            (None, None) => return BTreeMap::new(),
        };
        let folder = scene.config.canary_folder.clone();
        let folder = folder.unwrap_or_else(|| format!("/user/{}/.stoker-canary", scene.system_user()));
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
        let task = Task {
            when: (self.keep != Keep::Shipped && self.failed.is_none()).then(|| "before-move".to_owned()),
            once: Some("app".to_owned()),
            key: Some(key.clone()),
            command,
            user: Some(USER.to_owned()),
            trees,
            files: vec!["hadoop".to_owned()],
            timeout: Some("60s".to_owned()),
            retry: 1,
            ..Task::default()
        };
        BTreeMap::from([(CANARY.to_owned(), task)])
    }
}

/// Workload by workload, with the evidence.
fn works(
    decision: &Decision,
    spark: &Spark,
    client: &str,
    evidence: Evidence,
    python: bool,
) -> BTreeMap<String, Work> {
    let work = |ok: bool, by: &str| Work { ok, by: by.to_owned() };
    let plain = match evidence {
        Evidence::Read => work(decision.level <= Level::CrossMajor, "read"),
        Evidence::Run => work(true, "run"),
        Evidence::Failed => work(false, "run"),
    };
    let read = work(plain.ok, "read");
    let mut works = BTreeMap::from([
        ("files".to_owned(), plain),
        ("event-log".to_owned(), read.clone()),
        ("checkpoint".to_owned(), read),
        ("newer-calls".to_owned(), work(decision.level.in_line(), "read")),
        ("python".to_owned(), work(python, "read")),
        // Both come with what they were built for: the companion has to be of the client's very version.
        ("s3a".to_owned(), work(spark.aws.as_deref() == Some(client), "read")),
    ]);
    if spark.yarn {
        works.insert(
            "yarn".to_owned(),
            work(decision.keep == Keep::Shipped && decision.level.in_line(), "read"),
        );
    }
    works
}
