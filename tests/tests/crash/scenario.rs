//! What is done to the agent, step by step: everything that writes, with charms that need nothing but Python.

use std::fs;
use std::path::Path;

use stoker_tests::{charms, payload_folder, tar};

use crate::victim::Victim;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The agent's first start.
    First,
    /// A verb; `@BESIDE` and `@KEPT` are filled in.
    Verb(&'static str),
    /// A verb after which a service has another process though its spec is the same.
    Restart(&'static str),
    /// SIGKILL and a start.
    Again,
    /// SIGTERM and a start.
    Term,
}

pub(crate) const STEPS: &[Step] = &[
    Step::First,
    Step::Verb(
        "deploy py-echo echo -n 2 --resource payload=@BESIDE/payload-1.tar.gz --config secret=true \
         --config prepare=pass --config check=pass",
    ),
    Step::Verb("deploy py-peer ear --config token=true"),
    Step::Verb("integrate echo ear"),
    Step::Verb("config echo text=second"),
    Step::Verb("run echo/0 say text=hi file=@BESIDE/words --no-wait"),
    Step::Verb("attach-resource echo payload=recipe:1.0"),
    Step::Verb("pin echo payload"),
    Step::Verb("config echo payload-drop=data/a"),
    Step::Again,
    Step::Verb("rollback echo --to 2"),
    Step::Restart("restart echo/0/echo"),
    Step::Verb("stop ear/0"),
    Step::Verb("start ear/0"),
    Step::Verb("refresh ear --path @BESIDE/py-peer"),
    Step::Verb("rollout echo now"),
    Step::Verb("remove-unit echo/1"),
    Step::Verb("add-unit echo --reuse-data @KEPT"),
    Step::Verb("remove-relation echo ear"),
    Step::Verb("config echo prepare=none"),
    Step::Term,
    Step::Verb("remove-application ear --yes"),
    Step::Verb("remove-application echo --yes --destroy-data"),
    Step::Verb(
        "deploy py-echo late --config drain=true --config scale=2 --config check=pass --config check-once=true",
    ),
    Step::Verb("config late text=third"),
    Step::Verb("config late generation=k1"),
    Step::Verb("config late generation=k2 generation-keep=k1 text=fourth"),
    Step::Again,
    Step::Verb("rollback late"),
    Step::Verb("config late generation=k3 generation-keep=k1"),
    Step::Verb("remove-application late --yes --force"),
    Step::Verb("kept destroy @KEPT --yes"),
];

impl Step {
    /// Its name in the table.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::First => "start",
            Self::Again => "kill -9, start",
            Self::Term => "SIGTERM, start",
            Self::Verb(line) | Self::Restart(line) => line.split(" -").next().unwrap_or(line),
        }
    }

    /// The words of its verb.
    pub(crate) fn words(&self, victim: &Victim) -> Option<Vec<String>> {
        let (Self::Verb(line) | Self::Restart(line)) = self else { return None };
        let beside = victim.beside().display().to_string();
        let fill = |word: &str| word.replace("@BESIDE", &beside).replace("@KEPT", &victim.kept());
        Some(line.split_whitespace().map(fill).collect())
    }
}

/// Makes the files that the steps name.
pub(crate) fn prepare(beside: &Path) {
    payload_folder(&beside.join("payload-1"), "1");
    tar(&beside.join("payload-1"), &beside.join("payload-1.tar.gz"));
    fs::write(beside.join("words"), "a few words\n").expect("a file");
    let (from, to) = (charms().join("py-peer"), beside.join("py-peer"));
    fs::create_dir_all(to.join("bin")).expect("a folder");
    fs::copy(from.join("bin/dispatch"), to.join("bin/dispatch")).expect("a program");
    let text = fs::read_to_string(from.join("charm.toml")).expect("a charm");
    fs::write(to.join("charm.toml"), text.replace("Listens to an echo", "Listens to an echo, renewed"))
        .expect("a file");
}

/// Points that the steps here do not lead to: the test `builds` and those of the points' own crate kill there.
const NOT_FROM_HERE: &[&str] =
    &["builds.import.", "builds.remove.", "builds.mend.", "builds.repair.", "builds.gc.", "agent.builds."];

/// The names of all points, as the sources list them.
pub(crate) fn points() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut names = Vec::new();
    for file in ["agent/src/failpoints.rs", "agent/host/src/fs/failpoint.rs"] {
        let text = fs::read_to_string(root.join(file)).expect("a list of points");
        let list = text.split_once("ALL: &[&str] = &[").and_then(|(_, rest)| rest.split_once("];"));
        let list = list.expect("a list of points").0;
        names.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    names.retain(|name| !NOT_FROM_HERE.iter().any(|of| name.starts_with(of)));
    assert!(names.len() > 80, "the lists of points were not read: {names:?}");
    names
}
