//! Alignment within a plan: the leader decides and remembers, the others follow what it remembered; the verdict that
//! follows from it. The tree and the tasks that prove it are in `proof`.
//!
//! A canary that fails under `auto` is remembered with its reason: the plan then keeps the client in use and says
//! what is lost, until the Spark build, the HDFS's build or the Java changes, or `exact` asks for it again. Under
//! `exact` the plan still wants the client, and the agent holds the move back with the canary's evidence. What the link
//! check says needs no memory: its task stays in the plan, and so does its result.

mod proof;

use serde_json::Value;
use stoker_charm::digest::of_document;
use stoker_charm::ids::Digest;
use stoker_charm::observation::{Observation, ServiceState, TaskState};
use stoker_charm::plan::{Verdict, Work};

use self::proof::{CANARY, Link};
use super::build::Spark;
use super::hdfs::Hdfs;
use super::{Stuck, jars};
use crate::align::{
    Axes, Canary, Case, Client, Decision, Keep, Level, Policy, Question, Refused, S3a, Shape, broken, decide,
    level, unasked,
};
use crate::config::{Config, Pairs};

/// The action that follows a changed HDFS, and under what name of `state.app` it is remembered which one.
pub(super) const FOLLOW: &str = "follow";
/// In `state.app`: the HDFS that was decided for.
const FOLLOWED: &str = "hdfs";

/// Not asked for by anything that runs on the cluster itself.
const UNUSED: &str = "yarn";

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
    /// What is to be linked.
    pub(super) link: Option<Link>,
    /// Why nothing may move yet.
    pub(super) hold: Option<String>,
    /// The HDFS that is not followed until that is asked for.
    pub(super) unasked: Option<String>,
}

/// What a decision rests on beside the HDFS.
pub(super) struct Ground<'a> {
    /// The observation.
    pub(super) seen: &'a Observation,
    /// The options.
    pub(super) config: &'a Config,
    /// The build.
    pub(super) spark: &'a Spark,
    /// Why no Python that there is runs its programs.
    pub(super) python: Option<String>,
}

impl Ground<'_> {
    fn java(&self, client: &str) -> Option<u32> {
        self.spark.java.with_client(client).pick(&self.seen.host.java).map(|java| java.version)
    }
}

/// Decides (the leader), or follows (the others).
pub(super) fn align(ground: &Ground<'_>, hdfs: Option<&Hdfs<'_>>) -> Result<Alignment, Stuck> {
    let (seen, spark) = (ground.seen, ground.spark);
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
            link: None,
            hold: None,
            unasked: None,
        });
    };
    if spark.shape == Shape::Provided && !hdfs.server.provides() {
        let message = "this Spark build has no Hadoop client of its own, and this HDFS offers no whole Hadoop to take it from";
        let fix = format!(
            "attach a Spark that has one, or stoker attach-resource {} client=HADOOP",
            hdfs.relation.remote
        );
        return Err(Stuck::blocked(message, fix));
    }
    let remembered = Remembered::read(&seen.state.app);
    if seen.leader {
        return Ok(lead(ground, hdfs, &remembered));
    }
    let decision = remembered.follow(spark, hdfs)?;
    let verdict = verdict(ground, hdfs, &decision, &Linked::default(), Canary::Unknown);
    Ok(Alignment {
        client_version: version(&decision.keep, spark).to_owned(),
        keep: decision.keep,
        verdict: Some(verdict),
        memory: Pairs::new(),
        proof: None,
        failed: None,
        link: None,
        hold: None,
        unasked: None,
    })
}

fn lead(ground: &Ground<'_>, hdfs: &Hdfs<'_>, remembered: &Remembered<'_>) -> Alignment {
    let Ground { seen, config, spark, .. } = ground;
    let runs = |client: &str| ground.java(client).is_some();
    let follows = !config.asks || remembered.follows(hdfs);
    let decided = |refused: Option<&Refusal>, asked: bool| {
        let question = Question {
            policy: config.alignment,
            shape: spark.shape,
            shipped: &spark.client,
            current: remembered.client.as_ref(),
            server: &hdfs.server,
            java: &runs,
            refused: refused.map(|r| Refused { build: &r.build, why: &r.why, run: r.run }),
            asked,
        };
        let decision = decide(&question);
        if follows {
            return decision;
        }
        unasked(&question, decision, format!("stoker run {}/leader {FOLLOW}", seen.app))
    };
    let linked = Linked::read(ground, hdfs, &decided(None, false).keep);
    let asked = remembered.client.is_none() && linked.asks();
    let key_of = |keep: &Keep| key(spark, keep, ground.java(version(keep, spark)), hdfs);
    let by = format!("{} java {}", spark.build, ground.java(&hdfs.server.version).unwrap_or_default());
    let mut refused = linked.refusal().or_else(|| remembered.refusal(&by, &hdfs.server.build));
    let mut decision = decided(refused.as_ref(), asked);
    let key = key_of(&decision.keep);
    let mut failed = None;
    let tried = seen.tasks.get(CANARY).filter(|task| is_key(&task.key, &key));
    if let Some(task) = tried.filter(|t| t.state == TaskState::Bad && config.alignment == Policy::Auto)
        && let Keep::Swap(client) = &decision.keep
    {
        let refusal = Refusal { build: client.build.clone(), why: reason(task), run: true };
        failed = Some((client.clone(), key));
        decision = decided(Some(&refusal), asked);
        refused = Some(refusal);
    }
    let key = key_of(&decision.keep);
    let task = seen.tasks.get(CANARY).filter(|task| is_key(&task.key, &key));
    let canary = match task.map(|task| (task.state, task)) {
        Some((TaskState::Done, _)) => Canary::Passed,
        Some((TaskState::Bad, task)) => Canary::Failed(reason(task)),
        _ if remembered.proven.as_ref() == Some(&key) => Canary::Passed,
        _ => Canary::Unknown,
    };
    let followed = if follows { name(&hdfs.server) } else { remembered.followed().unwrap_or_default() };
    let mut memory = Pairs::from([(FOLLOWED.to_owned(), followed)]);
    if let Keep::Swap(client) | Keep::Provide(client) = &decision.keep {
        memory.insert("client-version".to_owned(), client.version.clone());
        memory.insert("client-build".to_owned(), client.build.clone());
        if !client.companions.is_empty() {
            memory.insert("client-companions".to_owned(), serde_json::json!(client.companions).to_string());
        }
        if !client.jars.is_empty() {
            memory.insert("client-jars".to_owned(), serde_json::json!(client.jars).to_string());
        }
    }
    if let Some(refusal) = refused.filter(|refusal| refusal.run) {
        memory.insert("refused-build".to_owned(), refusal.build);
        memory.insert("refused-by".to_owned(), by);
        memory.insert("refused-why".to_owned(), refusal.why);
    }
    if canary == Canary::Passed {
        memory.insert("proven".to_owned(), key.clone());
    }
    let worth = decision.keep != Keep::Shipped || !decision.level.in_line();
    let askable = hdfs.ready && hdfs.own_made;
    let proof = (worth && (canary == Canary::Passed || askable)).then_some(key);
    // What runs is not moved to a client that cannot be proven yet.
    let current = remembered.client.clone().map_or(Keep::Shipped, Keep::Swap);
    let other = decision.keep != current;
    let unproven = matches!(&decision.keep, Keep::Swap(_)) && proof.is_none();
    let hold = (unproven && (other || remembered.proven.is_some()) && running(seen)).then(|| {
        let (hdfs, client) = (&hdfs.relation.remote, version(&decision.keep, spark));
        if other {
            let from = version(&current, spark);
            format!(
                "waiting for {hdfs} to be writable before the Hadoop client changes from {from} to {client}"
            )
        } else {
            let spark = &spark.version;
            format!(
                "waiting for {hdfs} to be writable, to prove Spark {spark} with Hadoop client {client} on it"
            )
        }
    });
    let verdict = verdict(ground, hdfs, &decision, &linked, canary);
    Alignment {
        client_version: version(&decision.keep, spark).to_owned(),
        keep: decision.keep,
        verdict: Some(verdict),
        memory,
        proof,
        failed,
        link: linked.link,
        hold,
        unasked: (!follows).then(|| name(&hdfs.server)),
    }
}

/// What tells one state of an HDFS from another.
fn name(server: &Client) -> String {
    format!("{} {}", server.version, server.build)
}

fn reason(task: &stoker_charm::observation::Task) -> String {
    task.result.get("reason").and_then(Value::as_str).unwrap_or(&task.reason).to_owned()
}

/// What is known of the client that is thought of from its jars and versions.
#[derive(Default)]
struct Linked {
    link: Option<Link>,
    found: Option<crate::align::Found>,
    /// For S3, with the shipped client and with that one.
    s3a: S3a,
    s3a_after: S3a,
    /// What breaks with the shipped client, and with the one that is thought of.
    before: Pairs,
    after: Pairs,
}

impl Linked {
    fn read(ground: &Ground<'_>, hdfs: &Hdfs<'_>, keep: &Keep) -> Self {
        let Ground { seen, spark, .. } = ground;
        let client = match keep {
            Keep::Swap(client) => Some(client.clone()),
            Keep::Shipped if hdfs.server.there() && spark.takes(&hdfs.server.version) => {
                Some(hdfs.server.clone())
            }
            _ => None,
        };
        let link = Link::of(spark, client, jars::Jars::place(seen));
        let found = link.as_ref().and_then(|link| link.found(seen));
        let s3a = spark.s3a.clone().with(found.as_ref());
        let candidate = link.as_ref().and_then(|link| link.client.as_ref());
        let s3a_after = candidate
            .and_then(|client| proof::exchanged(spark, client).s3a)
            .map_or_else(|| s3a.clone(), |s3a| s3a.with(found.as_ref()));
        let before = broken(&spark.client, found.as_ref().map(|found| &found.before), &s3a);
        let after = candidate
            .map(|client| broken(&client.version, found.as_ref().map(|found| &found.after), &s3a_after));
        let after = after.unwrap_or_default();
        Self { link, found, s3a, s3a_after, before, after }
    }

    fn client(&self) -> Option<&Client> {
        self.link.as_ref()?.client.as_ref()
    }

    /// Whether something works with that client only.
    fn asks(&self) -> bool {
        self.client().is_some() && self.before.keys().any(|what| !self.after.contains_key(what))
    }

    /// That client, where something that works does not with it.
    fn refusal(&self) -> Option<Refusal> {
        let build = self.client()?.build.clone();
        let mut lost =
            self.after.iter().filter(|(what, _)| !self.before.contains_key(*what) && *what != UNUSED);
        lost.next().map(|(what, why)| Refusal { build, why: format!("{what}: {why}"), run: false })
    }
}

/// The verdict on a decision.
fn verdict(
    ground: &Ground<'_>,
    hdfs: &Hdfs<'_>,
    decision: &Decision,
    linked: &Linked,
    canary: Canary,
) -> Verdict {
    let spark = ground.spark;
    let client = version(&decision.keep, spark);
    let range = spark.java.with_client(client);
    let java = ground
        .java(client)
        .is_none()
        .then(|| format!("Spark {} with Hadoop client {client} needs Java {}", spark.version, range.words()));
    let harm = linked.found.as_ref().and_then(|found| match &decision.keep {
        Keep::Shipped => Some(&found.before),
        Keep::Swap(client) if linked.client() == Some(client) => Some(&found.after),
        _ => None,
    });
    let case = Case {
        level: decision.level,
        client,
        server: &hdfs.server.version,
        java,
        torn: spark.torn.clone().filter(|_| decision.keep == Keep::Shipped),
        python: ground.python.clone(),
        yarn: spark.yarn,
        harm,
        whole: linked.client().is_some(),
        s3a: if matches!(decision.keep, Keep::Shipped) { &linked.s3a } else { &linked.s3a_after },
        canary,
    };
    let (mut level, mut says, mut fix) = (decision.level, decision.says.clone(), decision.fix.clone());
    if let Some(why) = &case.python {
        level = level.max(Level::PythonBlocked);
        says = format!("{says}; {why}");
        fix = format!("attach a Python that Spark {} was released for", spark.version);
    }
    if let Some(why) = &case.torn {
        level = level.max(Level::ShapeBlocked);
        says = format!("{says}; {why}");
        fix = whole(ground.seen, spark);
    }
    if let Some(why) = &case.java {
        // Without a Java nothing runs, whatever Python there is.
        level = Level::JavaBlocked;
        says = format!("{says}; {why}");
        fix = format!("stoker attach-resource {} java=recipe:{}", ground.seen.app, range.supported.end());
    }
    let mut works = case.works();
    let java = ground.java(client).unwrap_or(u32::MAX);
    if let Err(stuck) = jars::Jars::read(ground.seen, spark, java) {
        let why = stuck.says().to_owned();
        works.insert("user_jars".to_owned(), Work { ok: false, by: "read".to_owned(), why });
    }
    Verdict {
        subject: "spark".to_owned(),
        relation: Some(hdfs.relation.id),
        level: level.word().to_owned(),
        works,
        says,
        fix,
    }
}

/// What mends a client whose jars do not fit each other.
fn whole(seen: &Observation, spark: &Spark) -> String {
    format!(
        "attach the whole build again: stoker attach-resource {} spark=recipe:{}",
        seen.app, spark.version
    )
}

impl Alignment {
    /// What stands in the way of running with this client at all.
    pub(super) fn torn(&self, seen: &Observation, spark: &Spark) -> Option<Stuck> {
        let why = spark.torn.as_ref().filter(|_| self.keep == Keep::Shipped && self.verdict.is_some())?;
        let why = format!("cannot use this build's Hadoop client: {why}");
        Some(Stuck::blocked(why, whole(seen, spark)).judged(self.verdict.clone()))
    }
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

/// What a canary's result holds for: this tree on this Java against this HDFS, as it is now.
fn key(spark: &Spark, keep: &Keep, java: Option<u32>, hdfs: &Hdfs<'_>) -> String {
    let client = match keep {
        Keep::Shipped => "shipped",
        Keep::Swap(client) | Keep::Provide(client) => &client.build,
    };
    let (java, version) = (java.unwrap_or_default(), &hdfs.server.version);
    let text = format!("{} {client} java {java} {version} {}", spark.build, hdfs.identity());
    Digest::of(text.as_bytes()).to_string()
}

/// Whether a task ran for our key: the agent shows it as it is, or shortened to the beginning of its digest.
fn is_key(shown: &str, ours: &str) -> bool {
    shown == ours
        || (shown.len() >= 32 && of_document(&ours).is_ok_and(|digest| digest.hex().starts_with(shown)))
}

/// A client that failed its canary, or does not link.
struct Refusal {
    build: String,
    why: String,
    run: bool,
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
        let companions = app.get("client-companions").and_then(|text| serde_json::from_str(text).ok());
        let jars = app.get("client-jars").and_then(|text| serde_json::from_str(text).ok());
        let client = client.map(|(version, build)| Client {
            version: version.clone(),
            build: build.clone(),
            companions: companions.unwrap_or_default(),
            jars: jars.unwrap_or_default(),
        });
        Self { app, client, proven: app.get("proven").cloned() }
    }

    /// The client that failed, where it still is one that could be used, with the Spark and Java that it failed with.
    fn refusal(&self, by: &str, server: &str) -> Option<Refusal> {
        let build = self.app.get("refused-build")?;
        let current = self.client.as_ref().map(|client| client.build.as_str());
        let same = self.app.get("refused-by")? == by && (build == server || Some(build.as_str()) == current);
        let why = self.app.get("refused-why")?.clone();
        same.then(|| Refusal { build: build.clone(), why, run: true })
    }

    /// The HDFS that was decided for last.
    fn followed(&self) -> Option<String> {
        self.app.get(FOLLOWED).cloned()
    }

    /// Whether the HDFS is the one that was decided for, the first, or one that was asked for.
    fn follows(&self, hdfs: &Hdfs<'_>) -> bool {
        let now = name(&hdfs.server);
        self.followed().is_none_or(|followed| followed == now) || self.app.get(FOLLOW) == Some(&now)
    }

    /// What a unit that does not lead has: the leader's client.
    fn follow(&self, spark: &Spark, hdfs: &Hdfs<'_>) -> Result<Decision, Stuck> {
        if !self.app.contains_key(FOLLOWED) {
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
