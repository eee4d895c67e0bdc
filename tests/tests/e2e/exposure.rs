//! Nothing is open by default: services are on loopback until their application is exposed. Who is let in by networks
//! takes a second host: tests/hosts/closed.

use std::fs;
use std::net::{TcpStream, UdpSocket};

use stoker_tests::{Agent, Folder, until};

/// The address that this machine is reached at from elsewhere.
fn outward() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("a machine with an address");
    socket.local_addr().unwrap().ip().to_string()
}

fn listens(address: &str, port: u16) -> bool {
    TcpStream::connect((address, port)).is_ok()
}

#[test]
fn services_are_on_loopback_until_they_are_exposed() {
    let folder = Folder::new();
    let mut agent = Agent::at(&folder.path().join("D"));
    let outward = outward();
    let settings = agent.dir().join("stoker.toml");
    let text = fs::read_to_string(&settings).unwrap().replace(agent.address(), &outward);
    fs::write(&settings, text).unwrap();
    agent.resume();
    agent.deploy("py-echo echo");
    agent.deploy("py-peer peer");
    agent.ok("integrate peer echo --wait");
    let port = agent.port("echo/0");
    let stands = |agent: &Agent, exposed: bool| {
        let (open, closed) = if exposed { (&*outward, "127.0.0.1") } else { ("127.0.0.1", &*outward) };
        until("the service is where it should be", || listens(open, port) && !listens(closed, port));
        let status = agent.status();
        let app = &status["applications"]["echo"];
        assert_eq!(app["exposed"], exposed, "{status}");
        assert_eq!(app["units"]["echo/0"]["public-address"], open);
        let word = if exposed { "  yes" } else { "  no" };
        let table = agent.ok("status").stdout;
        assert!(table.lines().any(|line| line.starts_with("echo ") && line.contains(word)), "{table}");
        agent.until_status("peer/0", "active: heard: hello");
    };
    stands(&agent, false);

    let preview = agent.ok("expose echo --preview").stdout;
    assert!(preview.contains("echo/0"), "{preview}");
    stands(&agent, false);
    agent.ok("expose echo --wait");
    stands(&agent, true);
    assert_eq!(agent.status()["applications"]["peer"]["exposed"], false, "each for itself");
    let run = agent.process("echo-0-echo").pid;
    agent.ok("expose echo --wait");
    assert_eq!(agent.process("echo-0-echo").pid, run, "said once more, it does nothing");
    agent.kill9();
    agent.resume();
    stands(&agent, true);

    for (network, says) in
        [("10.0.0.0/33", "is no network"), ("10.1.2.3/8", "which is `10.0.0.0/8`"), ("x", "is no network")]
    {
        agent.words(&["expose", "echo", "--to", network]).exits(2).is_problem().says(&[says]);
    }
    assert_eq!(agent.cli("expose nobody").code, 5);
    assert_eq!(agent.cli("unexpose nobody").code, 5);

    agent.ok("unexpose echo --wait");
    stands(&agent, false);
    let events = agent.ok("events").stdout;
    assert!(events.contains("unexpose echo"), "{events}");
}
