//! Data of removed units: kept, listed, taken back, destroyed only when that was said.

use std::fs;
use std::os::unix::fs::MetadataExt;

use stoker_tests::Agent;

#[test]
fn data_outlives_its_unit_and_is_taken_back() {
    let agent = Agent::start();
    agent.deploy("py-echo echo --config user=true");
    let folder = agent.dir().join("models/default/units/echo-0/data/data");
    fs::write(folder.join("precious"), "kept").unwrap();
    let owner = fs::metadata(&folder).unwrap().uid();
    if stoker_tests::is_root() {
        assert_ne!(owner, 0, "services have a user of their own");
    }
    agent.ok("remove-application echo --yes --wait --timeout 60s");
    assert!(agent.processes().is_empty() && !folder.exists());

    let kept = agent.json("kept");
    let id = kept[0]["id"].as_str().unwrap().to_owned();
    assert_eq!((&kept[0]["unit"], &kept[0]["charm"]), (&"echo/0".into(), &"py-echo".into()), "{kept}");
    // Not taken back by itself.
    agent.deploy("py-echo echo --config user=true");
    assert!(!folder.join("precious").exists());
    // Nor by another charm, nor under a wrong name.
    agent.cli("deploy py-echo third --reuse-data nothing").exits(5).is_problem();
    agent.cli(&format!("deploy py-peer third --reuse-data {id}")).exits(6).is_problem();

    agent.deploy(&format!("py-echo second --config user=true --reuse-data {id}"));
    let back = agent.dir().join("models/default/units/second-0/data/data");
    assert_eq!(fs::read_to_string(back.join("precious")).unwrap(), "kept");
    assert_eq!(fs::metadata(&back).unwrap().uid(), owner);
    assert_eq!(agent.json("kept"), serde_json::json!([]));

    // Scratch goes, and so does data where that was said.
    agent.ok("remove-unit second/0 --destroy-data --yes --wait --timeout 60s");
    assert_eq!(agent.json("kept"), serde_json::json!([]));
    agent.ok("remove-application echo --yes --wait --timeout 60s");
    let id = agent.json("kept")[0]["id"].as_str().unwrap().to_owned();
    agent.cli(&format!("kept destroy {id}")).exits(2).is_problem().says(&["--yes"]);
    assert_eq!(agent.json("kept")[0]["id"], id.as_str());
    agent.ok(&format!("kept destroy {id} --yes"));
    assert_eq!(agent.json("kept"), serde_json::json!([]));
    agent.cli(&format!("kept destroy {id} --yes")).exits(5).is_problem();
}
