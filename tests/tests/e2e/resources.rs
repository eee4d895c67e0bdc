//! Resources and builds: where they come from, what is refused, what is the same.

use std::fs;

use stoker_tests::{Agent, payload_folder, tar};

#[test]
fn builds_come_from_anywhere_and_what_is_the_same_is_one() {
    let agent = Agent::start();
    agent.deploy("py-echo echo --resource payload=recipe:1.0");
    assert_eq!(agent.about("echo/0")["payload"], "1.0");
    let before = agent.processes();

    // The same contents again: no revision, no release, no restart.
    for source in ["recipe:1.0", &format!("build:{}", digest(&agent))] {
        agent.ok(&format!("attach-resource echo payload={source} --wait --timeout 60s"));
    }
    assert_eq!(agent.json("releases echo").as_array().unwrap().len(), 1);
    assert_eq!(agent.json("resources echo --details")[0]["revisions"].as_array().unwrap().len(), 1);
    assert_eq!(agent.processes(), before);

    // A folder and the archive of it are one build.
    let folder = agent.beside("payload-2.0");
    payload_folder(&folder, "2.0");
    let archive = agent.beside("payload-2.0.tar.gz");
    tar(&folder, &archive);
    let added = agent.json(&format!("builds add {}", archive.display()));
    assert!(added["new_bytes"].as_u64().unwrap() > 0 && added["seconds"].is_number(), "{added}");
    assert_eq!((&added["facts"]["version"], &added["files"]), (&"2.0".into(), &3.into()), "{added}");
    let again = agent.json(&format!("builds add {}", folder.display()));
    assert_eq!((&again["digest"], &again["new_bytes"]), (&added["digest"], &0.into()), "{again}");
    let inspected = agent.json(&format!("inspect {}", archive.display()));
    assert_eq!(inspected, added["facts"]);
    let releases = agent.json("releases echo");
    agent.ok(&format!("attach-resource echo payload={} --wait --timeout 60s", archive.display()));
    assert_eq!(agent.about("echo/0")["payload"], "2.0");
    assert_eq!(agent.json("releases echo").as_array().unwrap().len(), releases.as_array().unwrap().len() + 1);
    let builds = agent.json("builds list");
    let used = builds.as_array().unwrap().iter().find(|build| build["digest"] == added["digest"]).unwrap();
    assert!(used["used_by"].to_string().contains("echo/payload@2"), "{used}");
    let digest = added["digest"].as_str().unwrap();
    assert_eq!(agent.json(&format!("builds show {}", &digest[..15]))["digest"], digest);

    // Without an agent the answer is the same.
    let stale = stoker_tests::Folder::new();
    let charm = stoker_tests::charms().join("py-echo");
    let alone = stoker_tests::stoker([
        "--dir".into(),
        stale.path().display().to_string(),
        "inspect".into(),
        archive.display().to_string(),
        "--charm".into(),
        charm.display().to_string(),
        "--format".into(),
        "json".into(),
    ]);
    assert_eq!(alone.exits(0).json(), added["facts"]);

    // A derived tree: the service sees less, the build is as it was.
    agent.config("echo payload-drop=data/b");
    let derived = agent.unit("echo/0")["trees"]["payload"].as_str().unwrap().to_owned();
    assert_ne!(derived, digest);
    let tree = agent.dir().join("builds/trees").join(derived.trim_start_matches("b3:"));
    assert!(tree.join("data/a").exists() && !tree.join("data/b").exists());
    agent.config("echo --reset payload-drop");
    assert_eq!(agent.unit("echo/0")["trees"]["payload"], digest);
}

fn digest(agent: &Agent) -> String {
    agent.json("resources echo")[0]["revisions"][0]["build"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_no_build_is_refused_and_nothing_of_it_stays() {
    let agent = Agent::start();
    agent.deploy("py-echo echo --resource payload=recipe:1.0");
    let before = (agent.json("builds"), agent.json("releases echo"), agent.processes());
    let folder = agent.beside("payload-9");
    payload_folder(&folder, "9");
    let mut noise: u64 = 88_172_645_463_325_252;
    let bytes: Vec<u8> = (0..200_000)
        .map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as u8
        })
        .collect();
    fs::write(folder.join("data/noise"), bytes).unwrap();
    let whole = agent.beside("whole.tar.gz");
    tar(&folder, &whole);
    let cut = agent.beside("cut.tar.gz");
    let packed = fs::read(&whole).unwrap();
    fs::write(&cut, &packed[..packed.len() * 2 / 3]).unwrap();
    let garbage = agent.beside("garbage.tar.gz");
    fs::write(&garbage, "this is no archive").unwrap();
    let strange = agent.beside("strange");
    fs::create_dir_all(&strange).unwrap();
    fs::write(strange.join("README"), "nothing that a charm knows").unwrap();
    let empty = agent.beside("unversioned");
    payload_folder(&empty, "");
    let linked = agent.beside("linked");
    payload_folder(&linked, "1");
    std::os::unix::fs::symlink("../../../../etc/passwd", linked.join("data/out")).unwrap();
    let leaves = agent.beside("linked.tar.gz");
    tar(&linked, &leaves);

    for (source, code, word) in [
        (cut.display().to_string(), 1, "ST0014"),
        (garbage.display().to_string(), 1, "ST001"),
        (leaves.display().to_string(), 1, "ST0014"),
        (strange.display().to_string(), 1, "ST0015"),
        (empty.display().to_string(), 1, "VERSION"),
        ("/nonexistent/file.tar.gz".to_owned(), 5, "/nonexistent/file.tar.gz"),
        ("recipe:bad".to_owned(), 1, "ST0019"),
        (format!("build:b3:{}", "0".repeat(64)), 5, "build"),
        ("build:b3:xyz".to_owned(), 5, "build"),
        ("https://example.org/x.tgz".to_owned(), 2, "ST0026"),
    ] {
        for verb in ["attach-resource echo payload=", "builds add "] {
            if verb.starts_with("builds") && source.starts_with("recipe") {
                continue;
            }
            let refused = agent.cli(&format!("{verb}{source}")).is_problem().says(&[word]);
            assert_eq!(refused.code, code, "{refused:?}");
        }
        if !source.starts_with("recipe") && !source.starts_with("https") {
            // `inspect` refuses what `builds add` refuses.
            agent.cli(&format!("inspect {source}")).exits(code).is_problem();
        }
    }
    agent.cli("attach-resource echo paylod=recipe:1.0").exits(5).is_problem().says(&["payload"]);
    agent.cli("attach-resource ehco payload=recipe:1.0").exits(5).is_problem().says(&["echo"]);
    let incoming = fs::read_dir(agent.dir().join("builds/incoming")).unwrap().count();
    assert_eq!(incoming, 0, "nothing is left of what was refused");
    assert_eq!((agent.json("builds"), agent.json("releases echo"), agent.processes()), before);
}

#[test]
fn a_build_is_checked_before_it_is_attached() {
    let agent = Agent::start();
    let folder = agent.beside("payload-2.0");
    payload_folder(&folder, "2.0");
    let jar = agent.beside("mine.jar");
    fs::write(&jar, "a jar").unwrap();
    let check = |with: &str| {
        agent.json(&format!("align check {} --with {with} --jar {}", folder.display(), jar.display()))
    };
    let fits = check("peer=2.0");
    assert_eq!((&fits["level"], &fits["works"]["reading"]["ok"]), (&"exact".into(), &true.into()), "{fits}");
    assert_eq!((&fits["gaps"][0]["jar"], &fits["cached"]), (&"mine.jar".into(), &false.into()), "{fits}");
    assert_eq!(check("peer=2.0")["cached"], true);
    let other = check("peer=1.0");
    assert_eq!(
        (&other["level"], &other["says"]),
        (&"older-client".into(), &"2.0 beside 1.0".into()),
        "{other}"
    );
    // A build that is there is one too; what the charm does not know is refused, and so is what it refuses.
    let twin = agent.json("builds add recipe:1.0 --charm py-echo")["digest"].as_str().unwrap().to_owned();
    assert_eq!(check(&format!("peer=build:{twin}"))["level"], "older-client");
    let refused = agent.cli(&format!("align check {} --with per=1.0", folder.display())).exits(2);
    assert!(refused.stderr.contains("peer"), "{refused:?}");
    let refused = agent.cli(&format!("align check {}", folder.display())).exits(1);
    assert!(
        refused.stderr.contains("ST0033") && refused.stderr.contains("--with peer=VERSION"),
        "{refused:?}"
    );
    assert_eq!(agent.json("status")["applications"], serde_json::json!({}));
    // Of an application, what is there is told.
    agent.deploy("py-echo echo --resource payload=recipe:1.0");
    assert_eq!(agent.json("align explain echo")["unit"], "echo/0");
}

#[test]
fn a_pin_stays_and_what_is_needed_is_not_removed() {
    let agent = Agent::start();
    agent.deploy("py-echo echo --resource payload=recipe:1.0");
    let one = agent.processes();
    agent.ok("pin echo payload --wait --timeout 60s");
    let second = agent.beside("payload-2.0");
    payload_folder(&second, "2.0");
    let attached =
        agent.ok(&format!("attach-resource echo payload={} --wait --timeout 60s", second.display()));
    assert!(format!("{attached:?}").contains("stoker unpin echo payload"), "{attached:?}");
    let resource = || agent.json("resources echo --details")[0].clone();
    assert_eq!((&resource()["revision"], &resource()["pinned"]), (&1.into(), &true.into()));
    assert_eq!(resource()["revisions"].as_array().unwrap().len(), 2);
    assert_eq!(agent.processes(), one, "what is pinned is not moved");
    assert!(agent.ok("resources echo").stdout.contains("1 (pinned)"));

    let refused = agent.cli("remove-resource echo payload=1");
    assert!(refused.code == 6 && refused.stderr.contains("units run or go to"), "{refused:?}");
    agent.ok("unpin echo payload --wait --timeout 60s");
    assert_eq!(agent.about("echo/0")["payload"], "2.0");
    // Only earlier releases need it now: that is for the user to say.
    let refused = agent.cli("remove-resource echo payload=1");
    assert!(refused.code == 6 && refused.stderr.contains("--force"), "{refused:?}");
    agent.ok("remove-resource echo payload=1 --force --wait --timeout 60s");
    assert_eq!(resource()["revisions"].as_array().unwrap().len(), 1);
    let back = agent.cli("rollback echo --to 1");
    assert!(back.code == 6 && back.stderr.contains("payload revision 1 was removed"), "{back:?}");
    assert_eq!(agent.cli("rollback echo").code, 5, "no earlier release is whole");
    assert_eq!(agent.cli("pin echo payload=1").code, 5);
    assert_eq!(agent.cli("unpin echo payload").code, 5);
    assert_eq!(agent.cli("remove-resource echo payload").code, 2);

    // Its number is not given to other bytes.
    agent.ok("attach-resource echo payload=recipe:1.0 --wait --timeout 60s");
    assert_eq!(resource()["revision"], 3);
    assert_eq!(agent.about("echo/0")["payload"], "1.0");
    agent.ok("pin echo payload=2 --wait --timeout 60s");
    assert_eq!(agent.about("echo/0")["payload"], "2.0");
    // A release remembers its pins: back is back.
    agent.ok("rollback echo --wait --timeout 60s");
    assert_eq!((&resource()["revision"], &resource()["pinned"]), (&3.into(), &false.into()));
}
