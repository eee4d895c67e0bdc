//! Killed at every step: of taking a build in, of deriving a tree, of a repair and of a collection.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use crate::place::{Place, noise, spoil};
use crate::{tried, turn};

/// What is done while the agent is aimed at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Start,
    Add,
    Derive,
    Repair,
    Collect,
}

const POINTS: &[(Deed, &[&str])] = &[
    (Deed::Start, &["builds.open.recovered"]),
    (
        Deed::Add,
        &[
            "builds.ingest.opened",
            "builds.ingest.blob-written",
            "builds.ingest.before-publish",
            "builds.ingest.half-published",
            "builds.ingest.published",
            "builds.ingest.before-sync",
            "builds.ingest.synced",
            "builds.ingest.settled",
            "agent.build.ingested",
            "builds.tree.half-linked",
            "builds.tree.before-rename",
            "builds.tree.renamed",
            "agent.build.before-record",
            "builds.record.before",
            "builds.record.after",
            "agent.build.recorded",
        ],
    ),
    (
        Deed::Derive,
        &[
            "builds.derive.before-manifest",
            "builds.ingest.before-sync",
            "builds.derive.after-manifest",
            "builds.tree.renamed",
        ],
    ),
    (
        Deed::Repair,
        &[
            "builds.repair.put-aside",
            "builds.repair.published",
            "builds.repair.one-settled",
            "builds.mend.path-mended",
            "builds.ingest.half-published",
            "builds.ingest.before-sync",
            "agent.builds.verified",
        ],
    ),
    (
        Deed::Collect,
        &[
            "builds.gc.marked",
            "builds.gc.records-gone",
            "builds.remove.renamed",
            "builds.gc.tree-gone",
            "builds.gc.half-moved",
            "builds.gc.moved",
            "builds.gc.removed",
            "agent.builds.collected",
        ],
    ),
];

/// Does it with an agent that dies at `point`; and again until it is done, with one that does not.
fn one(place: &mut Place, deed: Deed, point: &str) {
    let archive = place.archive();
    let archive = archive.to_str().expect("a path").to_owned();
    let mut words: Vec<&str> = Vec::new();
    match deed {
        Deed::Start => {}
        Deed::Add => words = vec!["builds", "add", &archive],
        Deed::Derive => {
            let resource = format!("payload={archive}");
            place.ok(&["config", "echo", "--reset", "payload-drop", "--wait", "--timeout", "60s"]);
            place.ok(&["attach-resource", "echo", &resource, "--wait", "--timeout", "60s"]);
            words = vec!["config", "echo", "payload-drop=data/a", "--wait", "--timeout", "60s"];
        }
        Deed::Repair => words = vec!["builds", "verify", "--repair"],
        Deed::Collect => {
            place.ok(&["builds", "add", &archive]);
            words = vec!["builds", "gc", "--yes"];
        }
    }
    let (before, tree) = (place.recorded(), place.tree());
    place.victim.kill();
    if deed == Deed::Repair {
        spoil(&tree.join("data/large"), &noise(1_000, 700_000));
    }
    let up = place.victim.start(Some(point));
    assert_eq!(up, deed != Deed::Start, "{point}");
    if up {
        place.victim.cli(&words);
        stoker_tests::until(&format!("the agent dies at {point} of {deed:?}"), || place.victim.dead());
    }
    place.again();
    if deed == Deed::Repair {
        // What a repair did not come to is what the next one does.
        place.ok(&["builds", "verify", "--repair"]);
    }
    place.check(point);
    if deed == Deed::Start {
        return;
    }
    // The same once more, to its end.
    place.ok(&words);
    place.check(point);
    let after = place.recorded();
    match deed {
        Deed::Add => assert_eq!(after.len(), before.len() + 1, "{point}"),
        Deed::Collect => assert_eq!(after.len(), before.len() - 1, "{point}"),
        Deed::Start | Deed::Derive | Deed::Repair => assert_eq!(after, before, "{point}"),
    }
    if deed == Deed::Add {
        place.ok(&["builds", "gc", "--yes"]);
    }
}

#[test]
fn killed_at_every_step_the_builds_stay_whole() {
    let _turn = turn();
    crate::victim::programs();
    let begun = std::time::Instant::now();
    let all = POINTS.iter().flat_map(|(deed, points)| points.iter().map(|point| (*deed, *point)));
    let queue = Mutex::new(all.collect::<Vec<_>>());
    let count = queue.lock().expect("a queue").len();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut place = Place::new();
                loop {
                    let next = queue.lock().expect("a queue").pop();
                    let Some((deed, point)) = next else { return };
                    one(&mut place, deed, point);
                    tried(&format!("kill -9 in {deed:?}"), point, "sound, verified, done again");
                }
            });
        }
    });
    eprintln!("{count} kills in {:.0?}", begun.elapsed());
}

#[test]
fn every_point_of_builds_is_among_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut missing = Vec::new();
    for file in ["agent/host/src/fs/failpoint.rs", "agent/src/failpoints.rs"] {
        let text = fs::read_to_string(root.join(file)).expect("a list of points");
        let list = text.split_once("ALL: &[&str] = &[").and_then(|(_, rest)| rest.split_once("];"));
        let names = list.expect("a list of points").0.split('"').skip(1).step_by(2);
        let of_builds = |name: &&str| {
            ["builds.", "agent.build.", "agent.builds."].iter().any(|of| name.starts_with(of))
                // Those of streams of builds are killed at by their own tests.
                && !name.starts_with("builds.import.")
        };
        let tried: Vec<&str> = POINTS.iter().flat_map(|(_, points)| points.iter().copied()).collect();
        missing.extend(names.filter(of_builds).filter(|name| !tried.contains(name)).map(str::to_owned));
    }
    assert!(missing.is_empty(), "points that are not killed at here: {missing:?}");
}
