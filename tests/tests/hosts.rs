//! The lab itself: its hosts are what tests take them for, can be cut off and broken, and leave nothing behind.

use std::process::Command;

use stoker_tests::{Lab, until};

fn answers(lab: &Lab, from: &str, to: &str) -> bool {
    lab.sh(from, &format!("ping -c 1 -W 1 {to}")).code == 0
}

/// Lines of what this machine has, that name a lab.
fn traces(lab: &str) -> Vec<String> {
    let asked: [&[&str]; 4] = [
        &["podman", "ps", "--all"],
        &["podman", "volume", "ls"],
        &["podman", "network", "ls"],
        &["cat", "/proc/mounts"],
    ];
    let mut found = Vec::new();
    for words in asked {
        let sudo: &[&str] = if stoker_tests::is_root() { &[] } else { &["sudo", "-n"] };
        let words: Vec<&str> = sudo.iter().chain(words).copied().collect();
        let said = Command::new(words[0]).args(&words[1..]).output().expect("a listing").stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        found.extend(said.lines().filter(|line| line.contains(lab)).map(str::to_owned));
    }
    found
}

#[test]
fn two_labs_live_beside_each_other_and_leave_nothing() {
    let (one, two) = std::thread::scope(|scope| {
        let two = scope.spawn(|| Lab::up("two", 1));
        (Lab::up("one", 2), two.join().expect("the second lab"))
    });
    assert_ne!(one.address("h1"), two.address("h1"));
    let labs = [one.name().to_owned(), two.name().to_owned()];
    names(&one);
    limits(&two);
    network(&one);
    disk(&one);
    power(&one);
    assert!(labs.iter().all(|lab| traces(lab).len() > 2), "what is looked for can be seen");
    drop(one);
    assert_eq!(two.sh("h1", "hostname -f").exits(0).stdout.trim(), format!("h1.{}.test", two.name()));
    drop(two);
    for lab in labs {
        assert_eq!(traces(&lab), Vec::<String>::new());
    }
}

fn names(lab: &Lab) {
    let (name, address) = (format!("h2.{}.test", lab.name()), lab.address("h2"));
    let forward = lab.sh("h1", "getent hosts h2").exits(0).stdout;
    assert!(forward.starts_with(&address), "{forward}");
    let back = lab.sh("h1", &format!("getent hosts {address}")).exits(0).stdout;
    assert!(back.split_whitespace().any(|word| word == name), "{back}");
    assert_eq!(lab.sh("h2", "hostname -f").exits(0).stdout.trim(), name);
}

/// Where a container lacks what systemd needs, these are ignored without a word.
fn limits(lab: &Lab) {
    let run = |what: &str| lab.sh("h1", &format!("systemd-run --quiet --wait --pipe {what}")).code;
    assert_eq!(run("-p ProtectSystem=strict true"), 0);
    assert_ne!(run("-p ProtectSystem=strict touch /usr/here"), 0);
    let hog = "python3 -c 'x = bytearray(b\"x\") * (200 << 20)'";
    assert_eq!(run(&format!("-p MemoryMax=1G {hog}")), 0);
    assert_ne!(run(&format!("-p MemoryMax=50M -p MemorySwapMax=0 {hog}")), 0);
}

fn network(lab: &Lab) {
    until("the hosts reach each other", || answers(lab, "h1", "h2") && answers(lab, "h2", "h1"));
    lab.verb(&["cut", "h1", "h2"]).exits(0);
    assert!(
        !answers(lab, "h1", "h2") && answers(lab, "h1", "gw"),
        "only the two are cut off from each other"
    );
    lab.verb(&["heal"]).exits(0);
    until("the cut has healed", || answers(lab, "h1", "h2"));
    lab.verb(&["cable", "h2", "out"]).exits(0);
    assert!(!answers(lab, "h2", "gw"));
    lab.verb(&["cable", "h2", "in"]).exits(0);
    until("the cable is in", || answers(lab, "h2", "gw"));
}

fn disk(lab: &Lab) {
    let write = "dd if=/dev/zero of=/var/lib/stoker/file bs=1M count=8 2>&1";
    lab.verb(&["disk", "h1", "full"]).exits(0);
    let full = lab.sh("h1", write);
    assert!(full.code != 0 && full.stdout.contains("No space left"), "{full:?}");
    lab.verb(&["disk", "h1", "ro"]).exits(0);
    let closed = lab.sh("h1", write);
    assert!(closed.code != 0 && closed.stdout.contains("Read-only"), "{closed:?}");
    lab.verb(&["disk", "h1", "ok"]).exits(0);
    lab.sh("h1", write).exits(0);
}

fn power(lab: &Lab) {
    let boot = || lab.sh("h1", "cat /proc/sys/kernel/random/boot_id").exits(0).stdout;
    let before = boot();
    lab.sh("h1", "echo kept >/var/lib/stoker/file; echo gone >/run/file").exits(0);
    lab.verb(&["kill", "h1"]).exits(0);
    assert_ne!(lab.sh("h1", "true").code, 0, "a host without power runs nothing");
    lab.verb(&["start", "h1"]).exits(0);
    assert_ne!(boot(), before);
    assert_eq!(lab.sh("h1", "cat /var/lib/stoker/file; ls /run/file 2>/dev/null").stdout.trim(), "kept");
}
