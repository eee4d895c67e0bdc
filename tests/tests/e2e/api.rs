//! What the socket answers to what no proper client would send.

use stoker_tests::{Agent, Answer};

fn refused(answer: &Answer, status: u16, says: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.head.contains("application/problem+json"), "{answer:?}");
    let problem = answer.json();
    for part in ["type", "title", "code"] {
        assert!(problem[part].as_str().is_some_and(|text| !text.is_empty()), "{part}: {answer:?}");
    }
    assert_eq!(problem["status"], status);
    assert!(answer.body.contains(says), "{says}: {answer:?}");
}

#[test]
fn requests_that_are_wrong_are_refused_and_change_nothing() {
    let agent = Agent::start();
    agent.deploy("py-echo echo");
    let before = agent.api("GET", "/v1/models/default/changes", "").json();
    let post = |body: &str| agent.api("POST", "/v1/models/default/changes", body);
    let config = r#"{"verb":"config","app":"echo","set":{"text":"x"}}"#;
    refused(&post(&format!(r#"{{"what":{config},"previw":true}}"#)), 400, "preview");
    refused(&post(r#"{"what":{"verb":"config","app":"echo","sets":{}}}"#), 400, "sets");
    refused(&post(r#"{"what":{"verb":"confgi","app":"echo"}}"#), 400, "confgi");
    refused(&post(r#"{"what":"#), 400, "");
    refused(&post(""), 400, "");
    refused(&post("[]"), 400, "");
    refused(&post(&format!(r#"{{"what":{config},"mode":"soon"}}"#)), 400, "soon");
    refused(&post(r#"{"what":{"verb":"config","app":"ehco","set":{"text":"x"}}}"#), 404, "echo");
    refused(&post(r#"{"what":{"verb":"deploy","charm":"py-echo","app":"Bad Name"}}"#), 400, "Bad Name");
    refused(&post(r#"{"what":{"verb":"deploy","charm":"py-echo","app":"echo"}}"#), 409, "echo");
    refused(&post(r#"{"what":{"verb":"deploy","charm":"./relative"}}"#), 400, "relative");
    refused(&agent.api("GET", "/v1/models/other/status", ""), 404, "other");
    refused(&agent.api("GET", "/v1/nothing", ""), 404, "/v1/nothing");
    refused(&agent.api("GET", "/v1/models/default/changes/999", ""), 404, "999");
    refused(&agent.api("GET", "/v1/models/default/changes/last", ""), 400, "last");
    refused(&agent.api("DELETE", "/v1/builds", ""), 405, "DELETE");
    refused(&agent.api("GET", "/v1/models/default/settled?wait=long", ""), 400, "wait");
    refused(&agent.api("GET", "/v1/builds/..%2f..%2fetc", ""), 404, "");
    let large = format!(r#"{{"what":{config},"command":"{}"}}"#, "x".repeat(8 << 20));
    let answer = post(&large);
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    assert_eq!(agent.api("GET", "/v1/models/default/changes", "").json(), before);

    // The document that is served is the one that is checked in.
    let served = agent.api("GET", "/v1/openapi.json", "").json();
    let kept =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/openapi.json")).unwrap();
    assert_eq!(served, serde_json::from_str::<serde_json::Value>(&kept).unwrap());
}
