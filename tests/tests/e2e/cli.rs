//! The command line against a real agent: exit statuses verb by verb, what is on which stream, formats, help.

use std::collections::BTreeSet;

use stoker_tests::{Agent, Folder, stoker};

/// The verbs, as the program itself lists them to a shell.
fn verbs() -> BTreeSet<String> {
    let script = stoker(["completions", "fish"]).exits(0).stdout;
    let name = |line: &str| {
        if !line.contains("__fish_stoker_needs_command") {
            return None;
        }
        let (_, rest) = line.split_once("needs_command\" -f -a \"")?;
        Some(rest.split('"').next()?.to_owned())
    };
    script.lines().filter_map(name).collect()
}

/// Exit status, command line, what standard error says. They run one after the other on one agent.
const TABLE: &[(i32, &str, &str)] = &[
    // 0: done, or nothing to do.
    (0, "deploy py-echo echo --config busy=true --resource payload=recipe:1.0 --wait", "deployed"),
    (0, "deploy py-peer peer --wait", "blocked"),
    (1, "wait peer --fail-on-blocked --timeout 60s", ""),
    (0, "integrate peer echo --wait", ""),
    (0, "integrate peer echo", "already"),
    (0, "relate peer:echo echo:echo", "already"),
    (0, "config echo text=one --wait", ""),
    (0, "config echo text=one", ""),
    (0, "config echo", ""),
    (0, "config echo text", ""),
    (0, "config echo --reset text --wait", ""),
    (0, "attach-resource echo payload=recipe:2.0 --wait", ""),
    (0, "attach-resource echo payload=recipe:2.0", ""),
    (0, "pin echo payload=1 --wait", ""),
    (0, "unpin echo payload --wait", ""),
    (0, "pin echo payload=1 --preview", ""),
    (0, "refresh echo --wait", ""),
    (0, "resources echo --details", ""),
    (0, "builds", ""),
    (0, "recipe list", ""),
    (0, "builds list", ""),
    (0, "inspect recipe:1.0 --charm py-echo", ""),
    (0, "align check recipe:1.0 --with peer=1.0", ""),
    (0, "align explain echo", ""),
    (0, "status", ""),
    (0, "status echo peer/0", ""),
    (0, "wait", ""),
    (0, "wait 1", ""),
    (0, "wait echo --for active", ""),
    (0, "why echo", ""),
    (0, "why echo/0", ""),
    (0, "rollout echo", ""),
    (0, "rollout echo now --wait", ""),
    (0, "releases echo", ""),
    (0, "rollback echo --to 1 --wait", ""),
    (0, "add-unit echo --wait", ""),
    (0, "remove-unit echo/1 --wait", ""),
    (0, "kept", ""),
    (0, "run echo/0 say text=x", ""),
    (0, "run echo/leader say text=x", ""),
    (0, "run echo/0 say text=x --background", ""),
    (0, "show-task 1", ""),
    (0, "actions echo", ""),
    (0, "actions echo --schema", ""),
    (0, "show-unit echo/0", ""),
    (0, "show-plan echo/0", ""),
    (0, "logs echo", ""),
    (0, "logs echo/0/echo -n 1", ""),
    (0, "debug-log", ""),
    (0, "events --since 1h", ""),
    (0, "stop echo/0/echo --wait", ""),
    (0, "stop echo/0/echo", "already"),
    (0, "start echo/0/echo --wait", ""),
    (0, "start echo/0", "was not stopped"),
    (0, "restart echo/0 --wait", ""),
    (0, "expose echo --wait", ""),
    (0, "unexpose echo --wait", ""),
    (0, "fsck --contents", ""),
    (0, "version", ""),
    (0, "explain", ""),
    (0, "explain ST0005", ""),
    (0, "completions bash", ""),
    (0, "man deploy", ""),
    (0, "config echo text=two --preview", ""),
    (0, "config echo busy=true --preview --exit-code", ""),
    // 1: what was asked failed.
    (1, "run echo/0 say text=x exit=3", "ST0017"),
    (1, "attach-resource echo payload=recipe:bad", "ST0019"),
    (1, "builds add /usr/bin/env", "ST00"),
    (1, "inspect /usr/bin/env", "ST00"),
    (1, "deploy py-echo many -n 120", "ST0032"),
    (1, "config echo fault=crash --wait", "ST0025"),
    (0, "config echo --reset fault --wait", ""),
    // 2: usage.
    (2, "", ""),
    (2, "deploy", ""),
    (2, "deploy py-echo two -n 0", ""),
    (2, "deploy py-echo Two", "ST0004"),
    (2, "config echo services=many", "ST0004"),
    (2, "config echo fault=odd", "ST0004"),
    (2, "config echo text=x --reset text", "ST0002"),
    (2, "config echo text=x --now --when-idle", ""),
    (2, "config echo text=x --exit-code", ""),
    (2, "integrate echo", ""),
    (2, "wait echo --timeout soon", ""),
    (2, "status --format xml", ""),
    (2, "logs echo -n some", "ST0002"),
    (2, "events --since soon", "ST0002"),
    (2, "fsck --patience soon", ""),
    (2, "report --lines some", "ST0002"),
    (2, "expose echo --to x", "ST0004"),
    (2, "run echo/0", ""),
    (2, "run say echo/0", "ST0002"),
    (2, "run echo/0 say", "`text`"),
    (2, "remove-unit echo/0 --destroy-data", "--yes"),
    (2, "remove-application echo", "--yes"),
    (2, "kept destroy", ""),
    (2, "rollout echo soon", ""),
    (2, "show-unit echo", "ST0004"),
    (2, "show-plan echo", "ST0004"),
    (2, "scale echo 3", "stoker add-unit"),
    (2, "stauts", "stoker status"),
    (2, "completions cmd", ""),
    // 5: not found, with what may have been meant.
    (5, "deploy py-ehco", "py-echo"),
    (5, "deploy /nonexistent", "/nonexistent"),
    (5, "deploy py-echo two --config txt=x", "text"),
    (5, "deploy py-echo two --config text", "text"),
    (5, "deploy py-echo two --resource paylod=recipe:1.0", "payload"),
    (5, "deploy py-echo two --resource payload=/nonexistent", "/nonexistent"),
    (5, "deploy py-echo two --reuse-data none", "none"),
    (5, "config ehco text=x", "echo"),
    (5, "expose ehco", "echo"),
    (5, "unexpose ehco", "echo"),
    (5, "report --output /nonexistent/x", "ST0005"),
    (5, "config echo txet=x", "text"),
    (5, "config echo txet", "text"),
    (5, "config echo --reset txet", "text"),
    (5, "integrate peer ehco", "echo"),
    (5, "integrate peer:ehco echo", "echo"),
    (5, "remove-relation peer nobody", "nobody"),
    (5, "add-unit ehco", "echo"),
    (5, "remove-unit ehco/0", "echo/0"),
    (5, "remove-unit echo/7", "echo/0"),
    (5, "remove-application ehco --yes", "echo"),
    (5, "kept destroy none --yes", "none"),
    (5, "attach-resource ehco payload=recipe:1.0", "echo"),
    (5, "attach-resource echo paylaod=recipe:1.0", "payload"),
    (5, "attach-resource echo payload=/nonexistent", "/nonexistent"),
    (5, "resources ehco", "echo"),
    (2, "pin echo payload=one", "ST0004"),
    (5, "pin echo payload=99", "it has"),
    (5, "unpin echo payload", "no such pin"),
    (5, "remove-resource echo payload=99", "it has"),
    (6, "remove-resource echo payload=2", "gone back to"),
    (5, "builds show b3:0000000000", "ST0005"),
    (5, "builds add /nonexistent", "/nonexistent"),
    (5, "inspect /nonexistent", "/nonexistent"),
    (5, "refresh ehco", "echo"),
    (5, "rollout ehco", "echo"),
    (5, "rollout ehco now", "echo"),
    (5, "releases ehco", "echo"),
    (5, "rollback ehco", "echo"),
    (5, "rollback echo --to 99", "99"),
    (0, "status ehco", "nothing matches"),
    (5, "why ehco", "echo"),
    (5, "why echo/9", "echo/0"),
    (5, "wait ehco", "echo"),
    (5, "wait 999", "999"),
    (5, "show-unit echo/9", "echo/0"),
    (5, "show-plan echo/9", "echo/0"),
    (5, "logs ehco", "echo"),
    (5, "events --app ehco", "echo"),
    (5, "logs echo/0/ehco", "echo"),
    (5, "run echo/9 say text=x", "echo/0"),
    (5, "run echo/0 sya text=x", "say"),
    (5, "run echo/0 say txet=x", "text"),
    (5, "actions ehco", "echo"),
    (5, "show-task 999", "999"),
    (5, "start echo/9", "echo/0"),
    (5, "stop echo/0/ehco", "echo"),
    (5, "restart echo/0/ehco", "echo"),
    (5, "explain ST9999", "ST9999"),
    (5, "status --model other", "other"),
    // 6: it contradicts what is there.
    (6, "deploy py-echo echo", "ST0006"),
    (6, "config echo text=x --if 0123456789abcdef01234567", "ST0009"),
    // 8: not settled in time.
    (8, "config echo workload=never-ready --wait --timeout 1s", "stoker wait"),
    (0, "config echo --reset workload --wait", ""),
    (8, "run echo/0 sleep seconds=60 --timeout 500ms", "stoker show-task"),
    // 10: changes, where a preview is asked for them.
    (10, "config echo text=two --preview --exit-code", ""),
    (10, "remove-application peer --preview --exit-code", ""),
    (0, "remove-relation peer echo --wait", ""),
    (0, "remove-application peer --yes --wait --timeout 60s", ""),
    (0, "wait peer --for gone", ""),
    (0, "remove-application echo --destroy-data --yes --force --wait --timeout 60s", ""),
    (0, "down", ""),
    // 7: no agent.
    (7, "status", "stoker agent"),
    (7, "deploy py-echo echo", "ST0007"),
    (0, "down", "no agent"),
    (7, "builds", "ST0007"),
    (7, "recipe list", "ST0007"),
    (7, "debug-log", "ST0007"),
    (7, "wait", "ST0007"),
    (0, "version", ""),
    (0, "explain ST0007", ""),
];

#[test]
fn exit_statuses_are_those_of_the_table_verb_by_verb() {
    let mut agent = Agent::start();
    let mut wrong = Vec::new();
    for (code, line, says) in TABLE {
        let line = if line.contains("--wait") && !line.contains("--timeout") {
            format!("{line} --timeout 60s")
        } else {
            (*line).to_owned()
        };
        let done = agent.cli(&line);
        let problem = ["[ST0", "\nfix: "].iter().all(|part| done.stderr.contains(part));
        let usage = done.stderr.contains("Usage:") || done.stderr.contains("--help");
        let fits = done.code == *code
            && done.stderr.contains(says)
            && !done.stderr.contains("panicked")
            && match code {
                0 => !done.stderr.contains("error"),
                10 => true,
                2 => problem || usage,
                _ => problem,
            }
            && (matches!(code, 0 | 1 | 8 | 10) || done.stdout.is_empty());
        if !fits {
            wrong.push(format!("expected {code} and `{says}`: {done:#?}"));
        }
        if line == "down" {
            stoker_tests::until("the agent is gone", || agent.ended());
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), TABLE.len(), wrong.join("\n"));
    // No verb is left out.
    let tested: BTreeSet<String> =
        TABLE.iter().filter_map(|(_, line, _)| line.split(' ').next()).map(str::to_owned).collect();
    // How the agent ends is seen elsewhere; the doctor's status is the host's.
    let other = ["agent", "doctor"];
    let missing: Vec<String> = verbs()
        .into_iter()
        .filter(|verb| !tested.contains(verb) && !other.contains(&verb.as_str()))
        .collect();
    assert!(missing.is_empty() && verbs().len() > 25, "not in the table: {missing:?}");
}

#[test]
fn what_is_asked_for_is_on_standard_output_and_parses() {
    let agent = Agent::start();
    agent.ok("deploy py-echo echo --resource payload=recipe:1.0 --wait --timeout 60s");
    agent.ok("deploy py-peer peer");
    agent.ok("integrate peer echo --wait --timeout 60s");
    agent.ok("run echo/0 say text=x");
    agent.config("echo text=set");
    for line in [
        "status",
        "builds",
        "builds list",
        "resources echo",
        "resources echo --details",
        "releases echo",
        "events --app echo",
        "kept",
        "config echo",
        "config echo text",
        "actions echo",
        "actions echo --schema",
        "show-unit echo/0",
        "show-plan echo/0",
        "why echo",
        "rollout echo",
        "explain",
        "explain ST0001",
        "version",
        "fsck",
        "show-task 1",
        "wait echo",
        "inspect recipe:1.0 --charm py-echo",
        "config echo text=y --preview",
        "config echo text=set",
        "run echo/0 say text=x",
    ] {
        let json = agent.ok(&format!("{line} --format json"));
        let value = json.json();
        let yaml = agent.ok(&format!("{line} --format yaml")).stdout;
        let again: serde_json::Value =
            serde_saphyr::from_str(&yaml).unwrap_or_else(|e| panic!("{line}: {e}\n{yaml}"));
        if !line.starts_with("status") && !line.starts_with("run") && !line.starts_with("wait") {
            assert_eq!(shape(&value), shape(&again), "{line}: the same in both");
        }
        let plain = agent.ok(line);
        assert!(!plain.stdout.contains('\x1b') && !plain.stderr.contains('\x1b'), "{line}: {plain:?}");
    }
    // Lines of logs are a document each.
    for line in ["logs echo --format json", "debug-log --format json"] {
        let text = agent.ok(line).stdout;
        assert!(!text.is_empty(), "{line}");
        for each in text.lines() {
            let value: serde_json::Value = serde_json::from_str(each).unwrap();
            assert!(value["line"].is_string() && value["source"].is_string(), "{value}");
        }
    }
    // A change: its number is the answer, talk is not; quiet has none.
    let change = agent.ok("config echo text=z");
    assert!(change.stdout.starts_with("change ") && change.stdout.lines().count() == 1, "{change:?}");
    assert!(!change.stderr.is_empty(), "{change:?}");
    let change = agent.ok("config echo text=q --quiet");
    assert!(change.stdout.starts_with("change ") && change.stderr.is_empty(), "{change:?}");
    // Refusals are talk.
    let refused = agent.cli("config echo txet=z --format json").exits(5);
    assert!(refused.stdout.is_empty(), "{refused:?}");
    // Colour only where it is asked for.
    assert!(agent.ok("status --color always").stdout.contains("active"));

    // Juju's sections and shape.
    let text = agent.ok("status").stdout;
    for head in ["Model", "App", "Unit", "Machine", "Integration provider"] {
        assert!(text.lines().any(|line| line.starts_with(head)), "{head}:\n{text}");
    }
    assert!(text.contains("echo/0*") && text.contains("py-echo"), "{text}");
    let some = agent.json("status peer");
    assert_eq!(some["applications"].as_object().unwrap().keys().collect::<Vec<_>>(), ["peer"]);
}

/// Numbers may be written differently, names and structure not.
fn shape(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), shape(v))).collect()),
        Value::Array(items) => Value::Array(items.iter().map(shape).collect()),
        Value::Number(_) => "number".into(),
        Value::Null => Value::Null,
        other => other.clone(),
    }
}

#[test]
fn help_is_short_and_codes_are_explained() {
    let help = stoker(["--help"]).exits(0).stdout;
    assert!(help.lines().count() <= 40, "{}", help.lines().count());
    for verb in verbs() {
        assert!(help.contains(&verb), "{verb} is not in the help");
        let of = stoker([verb.as_str(), "--help"]).exits(0).stdout;
        let lines = of.lines().count();
        assert!(lines <= 40, "the help of {verb} has {lines} lines:\n{of}");
        let examples =
            of.lines().filter(|line| line.trim_start().starts_with("stoker ") && line.starts_with("  "));
        assert_eq!(examples.count(), 2, "{of}");
    }
    let codes = stoker(["explain", "--format", "json"]).exits(0).json();
    let codes = codes.as_array().unwrap();
    assert!(codes.len() > 20);
    for code in codes {
        let id = code["code"].as_str().unwrap();
        let text = stoker(["explain", id]).exits(0).stdout;
        assert!(text.starts_with(id) && text.lines().count() > 2, "{text}");
    }
    // Codes that statuses carry are explained as well.
    let mut said = BTreeSet::new();
    for entry in walk(concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/src")) {
        let text = std::fs::read_to_string(entry).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, _) in text.match_indices("\"ST0") {
            said.insert(text[at + 1..at + 7].to_owned());
        }
    }
    let known: BTreeSet<String> =
        codes.iter().map(|code| code["code"].as_str().unwrap().to_owned()).collect();
    let missing: Vec<&String> =
        said.iter().filter(|code| !known.contains(*code) && !code.ends_with("99")).collect();
    assert!(missing.is_empty(), "`stoker explain` does not know {missing:?}");

    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef stoker"), ("fish", "complete -c stoker")]
    {
        let script = stoker(["completions", shell]).exits(0).stdout;
        assert!(script.contains(word) && script.contains("attach-resource"), "{shell}");
    }
    // The folder may come from the environment; an empty one is none.
    let folder = Folder::new();
    stoker(["--dir", folder.path().to_str().unwrap(), "status"]).exits(7).is_problem();
}

fn walk(folder: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}
