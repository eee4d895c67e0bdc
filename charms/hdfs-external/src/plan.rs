//! From observation to plan: what is asked of the HDFS, what its clients are told. Pure. Owns what is remembered: once the
//! HDFS has answered, clients keep what they were told while it is away.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stoker_charm::ids::Digest;
use stoker_charm::observation::{Bag, Life, Observation, Relation, Resource, Task as Seen, TaskState};
use stoker_charm::plan::{self, Plan, Published, Task, Tree};
use stoker_charm::status::{State, Status};
use stoker_charm::webhdfs::Folder;

use crate::place::{Place, Wrong};
use crate::programs::{ask, folders};

/// The endpoint.
const HDFS: &str = "hdfs";
/// The charm's user.
const USER: &str = "hdfs-external";
/// The task that asks.
const ASK: &str = "ask";
/// What stands for a build where there is none.
const NO_BUILD: &str = "none";
/// How often it is asked again.
const AGAIN: &str = "60s";
/// The largest value of relation data.
const MOST: usize = 60 << 10;

/// Remembered of the application.
const VERSION: &str = "version";
const CLUSTER: &str = "cluster-id";
const PAGE: &str = "page";
const READY: &str = "ready";
/// Which HDFS that was.
const WHERE: &str = "where";

/// The plan for an observation.
#[allow(clippy::unnecessary_wraps, reason = "the charm's signature; what stands in the way becomes a status")]
pub(crate) fn plan(seen: &Observation) -> anyhow::Result<Plan> {
    let mut plan = match Place::of(seen) {
        Ok(place) => Scene::of(seen, place).plan(),
        Err(wrong) => stuck(seen, wrong),
    };
    if seen.life == Life::Dying {
        plan.gone = true;
        plan.status = Status::new(State::Maintenance, "leaving");
    }
    if seen.leader {
        plan.app_status = Some(plan.status.clone());
    }
    Ok(plan)
}

/// Nothing changes until somebody has done something.
fn stuck(seen: &Observation, wrong: Wrong) -> Plan {
    let bags = seen.relations.iter().map(|relation| {
        let text = |bag: &Bag| bag.iter().map(|(key, value)| (key.clone(), escaped(value))).collect();
        (
            relation.id.to_string(),
            Published { app: text(&relation.ours.app), unit: text(&relation.ours.unit) },
        )
    });
    Plan {
        format: plan::FORMAT,
        hold: Some(wrong.says.clone()),
        relations: bags.collect(),
        state: seen.state.clone(),
        status: Status::new(State::Blocked, wrong.says).fix(wrong.fix),
        ..Plan::default()
    }
}

/// Text from outside, as a plan has to spell it.
fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

struct Scene<'a> {
    seen: &'a Observation,
    place: Place,
    /// What the NameNodes said last.
    answer: Option<ask::Answer>,
    /// What is known by now.
    known: BTreeMap<String, String>,
}

impl<'a> Scene<'a> {
    fn of(seen: &'a Observation, place: Place) -> Self {
        let answer: Option<ask::Answer> = seen
            .tasks
            .get(ASK)
            .filter(|task| !task.result.is_null())
            .and_then(|task| serde_json::from_value(task.result.clone()).ok());
        let mut known = seen.state.app.clone();
        if known.get(WHERE) != Some(&place.uri) {
            known = BTreeMap::from([(WHERE.to_owned(), place.uri.clone())]);
        }
        if let Some(answer) = &answer {
            // Between two versions nobody follows.
            let version = answer.version.as_ref().filter(|_| !answer.between || !known.contains_key(VERSION));
            for (key, value) in
                [(VERSION, version), (CLUSTER, answer.cluster.as_ref()), (PAGE, answer.page.as_ref())]
            {
                if let Some(value) = value {
                    known.insert(key.to_owned(), value.clone());
                }
            }
            if answer.ready {
                known.insert(READY.to_owned(), "true".to_owned());
            }
        }
        Self { seen, place, answer, known }
    }

    /// The version, said or found.
    fn version(&self) -> Option<&str> {
        let said = self
            .seen
            .config
            .get("version")
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|text| !text.is_empty());
        said.or_else(|| self.known.get(VERSION).map(String::as_str))
    }

    fn plan(&self) -> Plan {
        let seen = self.seen;
        let mut tasks = BTreeMap::from([(ASK.to_owned(), self.ask())]);
        for relation in self.clients() {
            if let Ok(Some(dirs)) = self.asked(relation)
                && self.makes()
                && self.known.contains_key(READY)
            {
                tasks.insert(task(relation), self.make(&dirs, &relation.app["dirs"]));
            }
        }
        let mut plan = Plan {
            format: plan::FORMAT,
            version: self.version().unwrap_or_default().to_owned(),
            status: self.status(),
            relations: self
                .clients()
                .map(|relation| (relation.id.to_string(), self.tell(relation)))
                .collect(),
            state: seen.state.clone(),
            ..Plan::default()
        };
        if seen.leader {
            plan.state.app.clone_from(&self.known);
        }
        if let Ok(charm) = seen.charm.parse() {
            plan.trees.insert("charm".to_owned(), Tree { base: charm, drop: Vec::new(), take: Vec::new() });
            plan.tasks = tasks;
        }
        plan
    }

    fn clients(&self) -> impl Iterator<Item = &'a Relation> {
        self.seen.relations.iter().filter(|relation| relation.endpoint == HDFS)
    }

    fn client(&self) -> Option<&'a Resource> {
        self.seen.resources.get("client")
    }

    fn makes(&self) -> bool {
        self.seen.config.get("folders").is_none_or(|how| how != "made")
    }

    /// The folders that a client asks for; none while it asks for none; or why they are not made.
    fn asked(&self, relation: &Relation) -> Result<Option<Value>, String> {
        let Some(text) = relation.app.get("dirs").filter(|text| !text.is_empty()) else { return Ok(None) };
        let refused =
            |why: String| format!("{} asks for folders that cannot be made: {why}", relation.remote);
        let dirs: Value = serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
        for dir in Folder::all(&dirs).map_err(refused)? {
            if !self.place.holds(&dir.path) {
                return Err(refused(format!("`{}` is not below `{}`", dir.path, self.place.folder)));
            }
        }
        Ok(Some(dirs))
    }

    fn own(&self, program: &str, question: &Value) -> Task {
        Task {
            once: Some("app".to_owned()),
            key: Some(format!(
                "{program}-{}",
                Digest::of(format!("{} {question}", self.place.uri).as_bytes()).short()
            )),
            command: vec![
                "${tree:charm}/bin/hdfs-external".to_owned(),
                program.to_owned(),
                escaped(&question.to_string()),
            ],
            user: Some(USER.to_owned()),
            trees: vec!["charm".to_owned()],
            timeout: Some("60s".to_owned()),
            retry: 3,
            ..Task::default()
        }
    }

    fn ask(&self) -> Task {
        let question = ask::Question { pages: self.place.pages.clone(), nodes: self.place.nodes.clone() };
        Task { every: Some(AGAIN.to_owned()), ..self.own("ask", &json!(question)) }
    }

    fn make(&self, dirs: &Value, text: &str) -> Task {
        let pages = self.known.get(PAGE).into_iter().chain(&self.place.pages);
        let mut unlike: Vec<String> = Vec::new();
        for page in pages {
            if !unlike.contains(page) {
                unlike.push(page.clone());
            }
        }
        let question = folders::Question {
            pages: unlike,
            folder: self.place.folder.clone(),
            dirs: dirs.clone(),
            made: made(text),
        };
        // Which NameNode is active is no reason to make them again.
        let key = json!([self.place.uri, self.place.folder, made(text)]).to_string();
        Task {
            key: Some(format!("folders-{}", Digest::of(key.as_bytes()).short())),
            ..self.own("folders", &json!(question))
        }
    }

    fn tell(&self, relation: &Relation) -> Published {
        let mut app = Bag::from([("folder".to_owned(), self.place.folder.clone())]);
        let mut say = |key: &str, value: &str| app.insert(key.to_owned(), escaped(value));
        if let Some(version) = self.version() {
            say("version", version);
            say("build", NO_BUILD);
            // Another's is no help: it would be taken for this HDFS's own.
            if let Some(client) = self.client().filter(|client| client.facts.version == version) {
                say("build", &client.build.to_string());
                if let Some(jars) = client.facts.details.get("client-jars") {
                    say("client-jars", &jars.to_string());
                }
            }
        }
        say("nameservice", &self.place.name);
        say("default-fs", &self.place.uri);
        say("cluster-id", self.known.get(CLUSTER).unwrap_or(&self.place.uri));
        say("config", &self.place.configuration().to_string());
        if let Some(page) = self.known.get(PAGE) {
            say("namenode-http", page);
        }
        if self.known.contains_key(READY) {
            say("ready", "true");
        }
        if let Some(made) = self.made(relation) {
            say("made", &made);
        }
        Published { app, unit: Bag::new() }
    }

    /// The digest of the folders that are there.
    fn made(&self, relation: &Relation) -> Option<String> {
        let dirs = self.asked(relation).ok().flatten().and_then(|_| relation.app.get("dirs"));
        if !self.makes() {
            return dirs.map(|dirs| made(dirs));
        }
        let done = self.seen.tasks.get(&task(relation)).filter(|task| task.state == TaskState::Done);
        let now = done.and_then(|task| task.result["made"].as_str()).map(str::to_owned);
        now.or_else(|| relation.ours.app.get("made").cloned())
    }

    fn status(&self) -> Status {
        let (seen, app) = (self.seen, &self.seen.app);
        let tried = || self.answer.as_ref().map(|answer| answer.tried.join("; ")).unwrap_or_default();
        if self.place.configuration().to_string().len() > MOST {
            return Status::new(State::Blocked, "the client configuration is too large to be told to others")
                .fix(format!("stoker attach-resource {app} configuration=FOLDER, with fewer properties"));
        }
        let Some(version) = self.version() else {
            return match &self.answer {
                None => Status::new(State::Waiting, "asking the NameNode"),
                Some(answer) if answer.ready => Status::new(
                    State::Blocked,
                    format!("cannot find out the version of {}: {}", self.place.uri, tried()),
                )
                .fix(format!("stoker config {app} version=VERSION, or pages=HOST:PORT")),
                Some(answer) => Status::new(State::Waiting, answer.why.clone())
                    .fix(format!("stoker config {app} pages=HOST:PORT, or version=VERSION")),
            };
        };
        if !self.known.contains_key(READY) {
            let why = self.answer.as_ref().map_or("asking the NameNode", |answer| answer.why.as_str());
            return Status::new(State::Waiting, format!("{} cannot be written to: {why}", self.place.uri));
        }
        for relation in self.clients() {
            if let Err(why) = self.asked(relation) {
                return Status::new(State::Blocked, why).fix(format!("stoker config {app} folder=/FOLDER"));
            }
            if let Some(status) =
                seen.tasks.get(&task(relation)).and_then(|task| self.refused(relation, task))
            {
                return status;
            }
        }
        let mut message =
            format!("Hadoop {version} at {}, written to below {}", self.place.uri, self.place.folder);
        if let Some(client) = self.client().filter(|client| client.facts.version != version) {
            message = format!("{message}; the attached client is {}, which is no help", client.facts.version);
        }
        Status::new(State::Active, message)
    }

    /// What keeps a client's folders from being made.
    fn refused(&self, relation: &Relation, task: &Seen) -> Option<Status> {
        let folder = &self.place.folder;
        let why = task.result.get("reason").and_then(Value::as_str).unwrap_or(&task.reason);
        match task.state {
            TaskState::Bad => {
                let message = format!("cannot make folders for {}: {why}", relation.remote);
                let fix = format!(
                    "as the superuser there: hdfs dfs -mkdir -p {folder} && hdfs dfs -chmod 1777 {folder}; then stoker restart {}/{}",
                    self.seen.unit,
                    self::task(relation)
                );
                Some(Status::new(State::Blocked, message).fix(fix))
            }
            TaskState::Retry => {
                Some(Status::new(State::Waiting, format!("making folders: {why}")).fix(format!(
                    "where there is no WebHDFS: make them by hand, then stoker config {} folders=made",
                    self.seen.app
                )))
            }
            _ => None,
        }
    }
}

/// The digest that answers a client's `dirs`.
fn made(dirs: &str) -> String {
    Digest::of(dirs.as_bytes()).to_string()
}

/// The name of the task of a relation's folders.
fn task(relation: &Relation) -> String {
    format!("folders-{}", relation.id)
}
