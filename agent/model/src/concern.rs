//! Whom a change of the model concerns: the newest revision that a unit has to look at. Owns which records a unit's
//! pass looks at; where that is not clear it must name too many units, never too few.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::UnitId;
use crate::keys::Key;
use crate::record::App;
use crate::snapshot::{BadRecord, Snapshot};

/// The newest revisions that concern everybody, an application's units, one unit.
#[derive(Debug, Clone, Default)]
pub struct Concerns {
    all: u64,
    apps: BTreeMap<String, u64>,
    units: BTreeMap<UnitId, u64>,
}

/// Whom one key's change concerns.
#[derive(Debug, Default)]
struct Reach {
    all: bool,
    apps: BTreeSet<String>,
    unit: Option<UnitId>,
}

/// What units look at of their application's record: all but how its rollout goes, which moves them by their own.
fn looked_at(app: &App) -> App {
    App { rollout: None, ..app.clone() }
}

impl Snapshot {
    /// Everything was read anew: all units look again.
    pub fn read_anew(&mut self, revision: u64) {
        self.revision = revision;
        self.concerns = Concerns { all: revision, ..Concerns::default() };
    }

    /// Takes over one key's new value, as [`Snapshot::apply`] does, of a later revision.
    pub fn follow(&mut self, rest: &str, value: Option<&[u8]>, revision: u64) -> Result<(), BadRecord> {
        let Some(key) = Key::parse(rest) else {
            self.revision = revision;
            return Ok(());
        };
        let before = self.shape(&key);
        let mut reach = self.reach(&key);
        self.apply(rest, value)?;
        self.revision = revision;
        // A relation that came has its ends only now.
        reach.apps.extend(self.reach(&key).apps);
        match &key {
            Key::App(app) if before != self.shape(&key) => drop(reach.apps.insert(app.clone())),
            Key::Unit(unit) if before != self.shape(&key) => reach.apps.extend(self.related(&unit.app)),
            _ => {}
        }
        if reach.all {
            self.concerns.all = revision;
        }
        for app in reach.apps {
            self.concerns.apps.insert(app, revision);
        }
        if let Some(unit) = reach.unit {
            if self.units.contains_key(&unit) {
                self.concerns.units.insert(unit, revision);
            } else {
                self.concerns.units.remove(&unit);
            }
        }
        Ok(())
    }

    /// The newest revision with something in it that a pass of this unit would look at.
    pub fn concerns(&self, unit: &UnitId) -> u64 {
        let app = self.concerns.apps.get(&unit.app).copied().unwrap_or_default();
        let own = self.concerns.units.get(unit).copied().unwrap_or_default();
        self.concerns.all.max(app).max(own)
    }

    /// An application and all that are related to it.
    fn related(&self, app: &str) -> BTreeSet<String> {
        let ends = self.relations_of(app).flat_map(|relation| &relation.ends).map(|end| end.app.clone());
        ends.chain([app.to_owned()]).collect()
    }

    /// What others look at of an application's or a unit's own record.
    fn shape(&self, key: &Key) -> Option<serde_json::Value> {
        match key {
            Key::App(app) => serde_json::to_value(looked_at(self.apps.get(app)?)).ok(),
            Key::Unit(unit) => serde_json::to_value(self.units.get(unit)?.life).ok(),
            _ => None,
        }
    }

    fn reach(&self, key: &Key) -> Reach {
        let of_apps = |apps: BTreeSet<String>| Reach { apps, ..Reach::default() };
        let of_relation = |id: &u64| {
            let ends = self.relations.get(id).into_iter().flat_map(|relation| &relation.ends);
            of_apps(ends.map(|end| end.app.clone()).collect())
        };
        match key {
            Key::Model | Key::Change(_) | Key::App(_) => Reach::default(),
            Key::Release(app, _) | Key::Revision(app, ..) | Key::AppState(app) => {
                of_apps([app.clone()].into())
            }
            Key::Unit(unit) | Key::Report(unit) | Key::UnitState(unit) => {
                Reach { unit: Some(unit.clone()), ..Reach::default() }
            }
            Key::Relation(id) | Key::AppData(id, _) | Key::UnitData(id, _) => of_relation(id),
            Key::Task(owner, ..) => {
                // The owner is an application, or a unit of the one before the last dash: both may be there.
                let unit = UnitId::from_dashed(owner).ok();
                Reach { unit, ..of_apps([owner.clone()].into()) }
            }
            Key::Action(id) => {
                of_apps(self.actions.get(id).map(|action| action.unit.app.clone()).into_iter().collect())
            }
            // Whoever it is granted to.
            Key::Secret(_) => Reach { all: true, ..Reach::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct World(Snapshot);

    impl World {
        fn put(&mut self, key: &Key, value: &serde_json::Value) {
            let revision = self.0.revision + 1;
            let bytes = serde_json::to_vec(value).unwrap();
            let whole = key.of("m");
            let rest = whole.strip_prefix("/stoker/1/m/m/").unwrap();
            self.0.follow(rest, Some(&bytes), revision).unwrap();
        }

        /// The units that have to look at the newest revision.
        fn looks(&self) -> String {
            let now = self.0.revision;
            let found = self.0.units.keys().filter(|unit| self.0.concerns(unit) == now);
            found.map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
    }

    fn unit(id: &str, release: u64, life: &str) -> serde_json::Value {
        json!({"id": id, "host": "h", "life": life, "release": release, "force": false, "destroy_data": false,
            "stopped": [], "grant": {"cores": 1, "memory": 1}})
    }

    fn app(name: &str, now: u64, rollout: bool) -> serde_json::Value {
        let mut app = json!({"name": name, "uuid": "u", "life": "alive", "next_unit": 3, "release": 1,
            "leader": null, "now": now, "change": 1});
        if rollout {
            app["rollout"] = json!({"from": 1, "to": 2, "most": 1, "moving": {}});
        }
        app
    }

    #[test]
    fn only_those_look_that_a_change_concerns() {
        let mut world = World(Snapshot::default());
        let id = |text: &str| text.parse::<UnitId>().unwrap();
        for name in ["db", "web", "alone"] {
            world.put(&Key::App(name.into()), &app(name, 0, false));
            for n in 0..2 {
                let text = format!("{name}/{n}");
                world.put(&Key::Unit(id(&text)), &unit(&text, 1, "alive"));
            }
        }
        let end = |app: &str, role: &str| json!({"app": app, "endpoint": "e", "role": role});
        let relation = json!({"id": 7, "interface": "i", "life": "alive",
            "ends": [end("db", "provides"), end("web", "requires")]});
        world.put(&Key::Relation(7), &relation);
        assert_eq!(world.looks(), "db/0 db/1 web/0 web/1");
        world.put(&Key::Change(3), &json!({"n": 3, "time": 0, "by": "", "command": "", "apps": []}));
        assert_eq!(world.looks(), "");
        world.put(&Key::UnitState(id("db/1")), &json!({"a": "b"}));
        assert_eq!(world.looks(), "db/1");
        world.put(&Key::UnitData(7, id("db/1")), &json!({"a": "b"}));
        assert_eq!(world.looks(), "db/0 db/1 web/0 web/1");
        world.put(&Key::AppState("alone".into()), &json!({"a": "b"}));
        assert_eq!(world.looks(), "alone/0 alone/1");
        // Where a unit goes is its own affair; that it goes is everybody's who sees it.
        world.put(&Key::Unit(id("db/0")), &unit("db/0", 2, "alive"));
        assert_eq!(world.looks(), "db/0");
        world.put(&Key::Unit(id("db/0")), &unit("db/0", 2, "dying"));
        assert_eq!(world.looks(), "db/0 db/1 web/0 web/1");
        world.put(&Key::App("db".into()), &app("db", 0, true));
        assert_eq!(world.looks(), "");
        world.put(&Key::App("db".into()), &app("db", 9, true));
        assert_eq!(world.looks(), "db/0 db/1");
        world.0.follow("relation/0000000007", None, world.0.revision + 1).unwrap();
        assert_eq!(world.looks(), "db/0 db/1 web/0 web/1");
        world.put(&Key::UnitData(7, id("db/1")), &json!({"a": "c"}));
        assert_eq!(world.looks(), "");
        world.0.follow("secret/abc", None, world.0.revision + 1).unwrap();
        assert_eq!(world.looks(), "alone/0 alone/1 db/0 db/1 web/0 web/1");
        let task = |owner: &str| Key::Task(owner.into(), "t".into(), "k".into());
        world.put(&task("web"), &json!({"state": "running"}));
        assert_eq!(world.looks(), "web/0 web/1");
        world.put(&task("web-1"), &json!({"state": "running"}));
        assert_eq!(world.looks(), "web/1");
    }
}
