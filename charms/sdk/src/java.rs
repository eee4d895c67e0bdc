//! Java as a resource: an attached one stands in for those of the host. Owns how plans name it; must not know which
//! versions a product runs on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::observation::{Java, Observation, Resource};
use crate::plan::{Plan, Tree};

/// The resource, its product and the tree.
const NAME: &str = "java";
/// Its home, as plans spell it.
const HOME: &str = "${tree:java}";

/// The attached Java.
pub fn attached(seen: &Observation) -> Option<&Resource> {
    seen.resources.get(NAME).filter(|resource| resource.facts.product == NAME)
}

/// The observation as a plan should take it: with an attached Java, the host has that one and no other.
pub fn choose(seen: &Observation) -> Cow<'_, Observation> {
    let version =
        attached(seen).and_then(|resource| resource.facts.provides.get(NAME)).and_then(Value::as_u64);
    let Some(version) = version.and_then(|version| u32::try_from(version).ok()) else {
        return Cow::Borrowed(seen);
    };
    let mut own = seen.clone();
    own.host.java = vec![Java { home: HOME.to_owned(), version }];
    Cow::Owned(own)
}

/// Why an attached Java cannot be used here, whatever is run on it.
pub fn unusable(seen: &Observation) -> Option<String> {
    let facts = &attached(seen)?.facts;
    let arch = facts.details.get("arch").and_then(Value::as_str).unwrap_or_default();
    let known = [arch, seen.host.arch.as_str()].iter().all(|arch| !arch.is_empty());
    if known && arch != seen.host.arch {
        return Some(format!(
            "the attached Java {} is for {arch}, this host is {}",
            facts.version, seen.host.arch
        ));
    }
    // A runtime that was cut to one program's modules lacks what logins and serializers need.
    let modules: Vec<&str> = facts
        .details
        .get("modules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let missing: Vec<&str> =
        NEEDED.into_iter().filter(|module| !modules.is_empty() && !modules.contains(module)).collect();
    (!missing.is_empty())
        .then(|| format!("the attached Java {} lacks modules: {}", facts.version, missing.join(", ")))
}

/// Modules without which neither logins nor serializers nor management work.
const NEEDED: [&str; 8] = [
    "java.management",
    "java.naming",
    "java.security.jgss",
    "java.security.sasl",
    "java.sql",
    "java.xml",
    "jdk.security.auth",
    "jdk.unsupported",
];

/// Adds the attached Java's tree to a plan, and to all that name it.
pub fn link(seen: &Observation, plan: &mut Plan) {
    let Some(resource) = attached(seen) else { return };
    let names = |command: &[String], env: &BTreeMap<String, String>| {
        command.iter().chain(env.values()).any(|text| text.contains(HOME))
    };
    let mut used = plan.files.values().any(|file| file.text.contains(HOME));
    for service in plan.services.values_mut() {
        if names(&service.command, &service.env) {
            service.trees.push(NAME.to_owned());
            used = true;
        }
    }
    for task in plan.tasks.values_mut().chain(plan.action.as_mut()) {
        if names(&task.command, &task.env) {
            task.trees.push(NAME.to_owned());
            used = true;
        }
    }
    if used {
        let tree = Tree { base: resource.build.clone(), drop: Vec::new(), take: Vec::new() };
        plan.trees.insert(NAME.to_owned(), tree);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;
    use crate::observation::Facts;
    use crate::plan::{Service, Task};
    use serde_json::json;

    fn seen(version: u32) -> Observation {
        let facts = Facts {
            product: NAME.into(),
            version: format!("{version}.0.1"),
            provides: [(NAME.to_owned(), json!(version))].into(),
            ..Facts::default()
        };
        let mut seen = Observation::default();
        seen.host.java = vec![Java { home: "/usr/lib/jvm/x".into(), version: 8 }];
        seen.resources.insert(NAME.into(), Resource { revision: 1, build: Digest::of(b"java"), facts });
        seen
    }

    #[test]
    fn an_attached_java_is_the_only_one() {
        let seen = seen(17);
        let chosen = choose(&seen);
        assert_eq!(chosen.host.java, [Java { home: HOME.into(), version: 17 }]);
        assert_eq!(choose(&Observation::default()).host.java, []);
        let mut plan = Plan::default();
        let command = vec![format!("{HOME}/bin/java")];
        plan.services.insert("runs".into(), Service { command: command.clone(), ..Service::default() });
        plan.services
            .insert("other".into(), Service { command: vec!["python".into()], ..Service::default() });
        plan.tasks.insert("tests".into(), Task { command, ..Task::default() });
        link(&seen, &mut plan);
        assert_eq!(plan.services["runs"].trees, [NAME]);
        assert!(plan.services["other"].trees.is_empty() && plan.tasks["tests"].trees == [NAME]);
        assert_eq!(plan.trees[NAME].base, Digest::of(b"java"));
        let mut none = Plan::default();
        link(&seen, &mut none);
        assert!(none.trees.is_empty());
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let mut seen = seen(17);
        assert_eq!(unusable(&seen), None);
        seen.host.arch = "x86_64".into();
        let details = &mut seen.resources.get_mut(NAME).unwrap().facts.details;
        details.insert("modules".into(), json!(["java.base", "java.sql"]));
        assert!(unusable(&seen).unwrap().contains("jdk.security.auth"));
        let details = &mut seen.resources.get_mut(NAME).unwrap().facts.details;
        details.insert("arch".into(), json!("aarch64"));
        assert!(unusable(&seen).unwrap().contains("aarch64"));
    }
}
