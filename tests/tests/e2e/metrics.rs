//! What the agent tells a Prometheus, held against Prometheus' own tool.

use std::io::Write;
use std::process::{Command, Stdio};

use stoker_tests::{Agent, until};

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn metrics_are_true_and_promtool_finds_nothing() {
    let agent = Agent::start();
    agent.deploy("py-echo echo --resource payload=recipe:1.0");
    agent.cli("builds add /usr/bin/env").exits(1);
    let text = || agent.api("GET", "/metrics", "").body;
    until("the service is told of", || {
        value(&text(), r#"stoker_services{app="echo",state="ready"}"#) == Some(1.0)
    });
    let text = text();
    let of = |series| value(&text, series);
    assert_eq!(of(r#"stoker_units{app="echo",state="active"}"#), Some(1.0), "{text}");
    assert_eq!(of(r#"stoker_units{app="echo",state="error"}"#), Some(0.0));
    assert_eq!(of("stoker_changes_total"), Some(1.0));
    assert_eq!(of("stoker_applications"), Some(1.0));
    assert_eq!(of(r#"stoker_requests_total{result="failed"}"#), Some(1.0));
    assert!(
        of(r#"stoker_hook_runs_total{result="done"}"#) >= Some(1.0) && of("stoker_builds") >= Some(1.0),
        "{text}"
    );
    assert!(of("stoker_agent_resident_memory_bytes") > Some(1e6), "{text}");

    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool, of the package prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.trim().is_empty(), "{said}\n{text}");
}
