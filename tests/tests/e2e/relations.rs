//! Relations: in any order, removed and made again.

use stoker_tests::Agent;

#[test]
fn relations_come_in_any_order_and_again() {
    let agent = Agent::start();
    // The requirer first, related before the provider has a service.
    agent.ok("deploy py-peer early");
    let status = agent.until_status("early/0", "blocked: no echo");
    assert_eq!(status, "blocked: no echo");
    agent.ok("deploy py-echo one --config text=first --no-wait");
    agent.ok("integrate early one");
    // The provider first, related when all is up.
    agent.deploy("py-echo two --config text=second");
    agent.ok("deploy py-peer late --wait").says(&["blocked"]);
    agent.ok("integrate two:echo late:echo --wait --timeout 60s");
    agent.until_status("early/0", "active: heard: first");
    agent.until_status("late/0", "active: heard: second");

    // A change on one side reaches the other.
    agent.config("one text=changed");
    agent.until_status("early/0", "active: heard: changed");
    let info = agent.unit("one/0")["relation-info"].to_string();
    assert!(info.contains("\"heard\":\"changed\""), "{info}");

    // Removed: its data and what was made of them go. Made again, also to another.
    agent.ok("remove-relation early one --wait");
    assert_eq!(agent.until_status("early/0", "blocked"), "blocked: no echo");
    assert!(!agent.processes().contains_key("early-0-ear"));
    agent.ok("integrate early one --wait --timeout 60s");
    agent.until_status("early/0", "active: heard: changed");
    agent.ok("remove-relation early one");
    agent.ok("integrate early two --wait --timeout 60s");
    agent.until_status("early/0", "active: heard: second");

    // What cannot be related.
    agent.cli("integrate early two").exits(0).says(&["already"]);
    agent.cli("integrate early one").exits(6).is_problem();
    agent.cli("integrate one two").exits(5).is_problem();
    agent.cli("integrate early nobody").exits(5).is_problem();
    agent.cli("integrate early:ecko one").exits(5).is_problem().says(&["echo"]);
    agent.cli("remove-relation late one").exits(5).is_problem();
    assert_eq!(agent.until_status("early/0", "active"), "active: heard: second");

    // An application goes, and the other side is told.
    agent.ok("remove-application two --yes --wait --timeout 60s");
    assert_eq!(agent.until_status("early/0", "blocked"), "blocked: no echo");
    let left = agent.status();
    assert_eq!(left["integrations"].as_array().unwrap().len(), 1, "{}", left["integrations"]);
}
