//! Warm starts: what changes in services and tasks, and what must not.

use super::*;

#[test]
fn daemons_start_by_their_archives_from_the_first_time_on() {
    let seen = alone();
    let plan = planned(&seen);
    for (name, archive) in [("master", "master"), ("worker", "worker")] {
        let service = &plan.services[name];
        let words: Vec<&str> = service.command.iter().map(String::as_str).collect();
        assert_eq!(words[..4], ["${tree:charm}/bin/spark", "start-jvm", "${dir:warm}", archive]);
        assert!(words[4].ends_with("/bin/java"), "{words:?}");
        let at = words.iter().position(|word| *word == "-cp").unwrap();
        assert_eq!(words[at + 1], "${tree:spark}/jars/*:${file:daemon}", "jars first");
        assert!(words.contains(&"-Dlog4j2.configurationFile=file:${file:daemon}/log4j2.properties"));
        // Another charm, or an archive, restarts nothing.
        assert!(
            service.follows.contains(&"tree:charm".to_owned())
                && !service.trees.contains(&"charm".to_owned())
        );
        assert!(
            !service.dirs.contains(&"warm".to_owned()),
            "who runs programs of users does not write there"
        );
    }
    assert!(!plan.services["history"].command.contains(&"start-jvm".to_owned()));
    assert_eq!(plan.dirs["warm"].tree.as_deref(), Some("spark"));
    let task = &plan.tasks["warm"];
    assert!(task.idle && task.when.is_none() && task.dirs == ["warm"], "{task:?}");
    assert_eq!(task.needs, ["master", "worker"]);
    // What becomes of it changes no service.
    let mut later = seen;
    later["tasks"]["warm"] = json!({"key": "k", "state": "done", "exit": 0, "result": {"made": true}});
    assert_eq!(planned(&later).services, plan.services);
    later["config"]["warm"] = json!(false);
    let without = planned(&later);
    assert!(
        without.services == plan.services && without.dirs == plan.dirs && !without.tasks.contains_key("warm")
    );
}

#[test]
fn executors_keep_their_flags_and_old_javas_theirs() {
    let plan = planned(&alone());
    let all: String = plan.files.values().map(|file| file.text.as_str()).collect();
    for flag in ["TieredStopAtLevel", "UseSerialGC", "SharedArchiveFile", "start-jvm"] {
        assert!(!all.contains(flag), "{flag} in a file that executors or drivers read");
    }
    let mut old = alone();
    old["host"]["java"] = json!([{"home": "/jdk11", "version": 11}]);
    let plan = planned(&old);
    let master = plan.services["master"].command.join(" ");
    assert!(master.starts_with("/jdk11/bin/java ") && master.contains("-cp ${file:daemon}:"), "{master}");
    assert!(!plan.tasks.contains_key("warm") && !plan.dirs.contains_key("warm"));
}
