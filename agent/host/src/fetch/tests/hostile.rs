//! Servers, names and networks that mean no good, and what is left of them: nothing.

use std::sync::atomic::AtomicU64;

use super::*;

#[test]
fn other_bytes_are_refused_whatever_their_headers_say() {
    let bytes = noise(100_000);
    let mut other = bytes.clone();
    other[99_999] ^= 1;
    let server = Server::of(other);
    match server.fetch(&bytes) {
        Err(FetchError::Mismatch { algorithm: "sha256", url, .. }) => {
            assert!(url.contains("#sha256="), "{url}");
        }
        found => panic!("{found:?}"),
    }
    assert_eq!(server.asked().len(), 1, "the same bytes are not asked for again");
    // Right bytes, but fewer or more than the file has.
    let sent = bytes.clone();
    let short = Server::start(move |_, out| answer(out, "200 OK", &[("Content-Length", "10")], &sent));
    assert!(matches!(short.fetch(&bytes), Err(FetchError::Mismatch { .. })));
    let sent = bytes.clone();
    let long = Server::start(move |_, out| answer(out, "200 OK", &[("Content-Length", "100001")], &sent));
    assert!(matches!(long.fetch(&bytes), Err(FetchError::Cut { got: 100_000, .. })));
    let mut more = bytes.clone();
    more.push(0);
    assert!(matches!(Server::of(more).fetch(&bytes), Err(FetchError::Mismatch { .. })));
    // The digest of what is unpacked is not that of what is there.
    let packed = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    let server = Server::start(move |_, out| {
        answer(
            out,
            "200 OK",
            &[("Content-Encoding", "gzip"), ("Content-Length", &packed.len().to_string())],
            &packed,
        );
    });
    assert!(matches!(server.fetch(&bytes), Err(FetchError::Mismatch { .. })));
}

#[test]
fn an_endless_body_ends_at_the_limit() {
    let server = Server::start(|_, out| {
        answer(out, "200 OK", &[], b"");
        let piece = vec![0; 65536];
        while out.write_all(&piece).is_ok() {}
    });
    let rules = Rules { most_bytes: 3 << 20, ..server.rules() };
    let link = server.link("files.example", b"");
    assert!(matches!(server.fetch_with(rules, &link), Err(FetchError::TooLarge { limit: 3_145_728, .. })));
    // What says so at once is not even begun.
    let huge = Server::start(|_, out| answer(out, "200 OK", &[("Content-Length", "99999999999")], b"x"));
    let rules = Rules { most_bytes: 1000, ..huge.rules() };
    assert!(matches!(
        huge.fetch_with(rules, &huge.link("files.example", b"")),
        Err(FetchError::TooLarge { .. })
    ));
    let rules = Rules { most_bytes: u64::MAX, ..huge.rules() };
    let huge = Server::start(|_, out| answer(out, "200 OK", &[("Content-Length", "999999999999999")], b"x"));
    let rules = Rules { ca_file: Some(huge.ca.clone()), ..rules };
    assert!(matches!(
        huge.fetch_with(rules, &huge.link("files.example", b"")),
        Err(FetchError::NoSpace { .. })
    ));
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    if rustix::mount::mount("tmpfs", temp.path(), "tmpfs", flags, Some(c"size=1m")).is_err() {
        eprintln!("skipped: mounting is not allowed here");
        return;
    }
    let bytes = noise(3 << 20);
    let sent = bytes.clone();
    // No length: it is found out while writing.
    let server = Server::start(move |_, out| answer(out, "200 OK", &[], &sent));
    let names = Names::of(&[("files.example", &["127.0.0.1"])]);
    let fetcher = Fetcher::with_resolver(server.rules(), names).unwrap();
    let to = temp.path().join("fetched");
    let said = fetcher.fetch(&server.link("files.example", &bytes), &to, &());
    let left = std::fs::read_dir(temp.path()).unwrap().count();
    rustix::mount::unmount(temp.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(matches!(said, Err(FetchError::NoSpace { .. })), "{said:?}");
    assert_eq!(left, 0);
}

#[test]
fn who_sends_next_to_nothing_is_left() {
    let drip = |out: &mut dyn Write| {
        while out.write_all(b"x").and_then(|()| out.flush()).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let body = Server::start(move |_, out| {
        answer(out, "200 OK", &[("Content-Length", "100000")], b"");
        drip(out);
    });
    let rules = |server: &Server| Rules { patience: Duration::from_millis(300), tries: 2, ..server.rules() };
    let said = body.fetch_with(rules(&body), &body.link("files.example", b"")).unwrap_err().to_string();
    assert!(said.contains("sends next to nothing") && said.contains("2 tries"), "{said}");
    let head = Server::start(move |_, out| {
        let _ = out.write_all(b"HTTP/1.1 200 OK\r\nX-Y: ");
        drip(out);
    });
    let said = head.fetch_with(rules(&head), &head.link("files.example", b"")).unwrap_err().to_string();
    assert!(said.contains("does not answer"), "{said}");
    // Nobody speaks TLS there.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("https://files.example:{}/x", deaf.local_addr().unwrap().port());
    let said = head.fetch_with(rules(&head), &link(&to, b"")).unwrap_err().to_string();
    assert!(said.contains("does not answer"), "{said}");
}

#[test]
fn answers_that_are_none_are_told() {
    let bytes = noise(10);
    for (head, says) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answers 404"),
        ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "answers 403"),
        ("HTTP/1.1 206 Part\r\nContent-Range: bytes 0-9/10\r\n\r\n", "another part"),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "answers 500"),
        ("no HTTP at all\r\n\r\n", "tries"),
        ("HTTP/1.1 302 Found\r\n\r\n", "redirects to nowhere"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345", "tries"),
        ("", "tries"),
    ] {
        let server = Server::start(move |_, out| {
            let _ = out.write_all(head.as_bytes());
        });
        let said = server.fetch(&bytes).unwrap_err().to_string();
        assert!(said.contains(says), "{head:?}: {said}");
    }
}

#[test]
fn redirects_lead_nowhere_they_must_not() {
    let to = Arc::new(Mutex::new(String::new()));
    let place = Arc::clone(&to);
    let server = Server::start(move |_, out| {
        let place = place.lock().unwrap().clone();
        answer(out, "302 Found", &[("Location", &place), ("Content-Length", "0")], b"");
    });
    let port = server.port;
    for place in [
        "https://127.0.0.2/",
        "https://2130706434/",
        "https://0x7f000002/",
        "https://0177.0.0.2/",
        "https://127.2/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://0.0.0.0/",
        "https://[fd00::1]/",
        "https://inside.example/",
    ] {
        *to.lock().unwrap() = place.to_owned();
        let names = Names::of(&[("files.example", &["127.0.0.1"]), ("inside.example", &["192.168.7.7"])]);
        let said = server.fetch_by(server.rules(), names, &server.link("files.example", b"")).unwrap_err();
        assert!(matches!(said, FetchError::Private { .. }), "{place}: {said}");
    }
    for (place, why) in [
        (format!("http://files.example:{port}/"), "which is not https"),
        ("file:///etc/passwd".to_owned(), "which is not https"),
        ("gopher://files.example/".to_owned(), "which is not https"),
        (format!("https://me:secret@files.example:{port}/"), "user or password"),
        ("https://".to_owned(), "which is no URL"),
        (format!("https://files.example:{port}/again"), "too many redirects"),
    ] {
        (*to.lock().unwrap()).clone_from(&place);
        let before = server.asked().len();
        let said = server.fetch(b"").unwrap_err().to_string();
        assert!(said.contains(why) && !said.contains("secret"), "{place}: {said}");
        assert!(server.asked().len() <= before + 6, "{place}");
    }
}

#[test]
fn private_networks_are_closed_and_nobody_is_connected_to() {
    let bytes = noise(10);
    let server = Server::of(bytes.clone());
    let closed = Rules { reach: Reach::default(), ..server.rules() };
    for host in ["127.0.0.1", "localhost", "files.example", "2130706433", "0x7f.1", "mixed.example"] {
        let names = Names::of(&[
            ("files.example", &["127.0.0.1"]),
            ("localhost", &["127.0.0.1"]),
            ("mixed.example", &["8.8.8.8", "127.0.0.1"]),
        ]);
        match server.fetch_by(closed.clone(), names, &server.link(host, &bytes)) {
            Err(FetchError::Private { kind, .. }) => assert_eq!(kind, "this host"),
            other => panic!("{host}: {other:?}"),
        }
    }
    // One address that may be reached does not open the others.
    let names = Names::of(&[("files.example", &["127.0.0.1", "10.0.0.1"])]);
    let said = server.fetch_by(server.rules(), names, &server.link("files.example", &bytes)).unwrap_err();
    assert!(matches!(said, FetchError::Private { .. }), "{said}");
    assert_eq!(server.asked().len(), 0);
    // Named, it is reached.
    let rules = Rules { reach: Reach::parse(&["files.example".to_owned()]).unwrap(), ..server.rules() };
    server.fetch_with(rules, &server.link("files.example", &bytes)).unwrap();
}

/// Between the check and the connection a name is not asked for again, and for the next connection it is checked anew.
#[test]
fn a_name_that_moves_is_checked_each_time() {
    let bytes = noise(100_000);
    let sent = bytes.clone();
    let server =
        Server::start(move |_, out| answer(out, "200 OK", &[("Content-Length", "100000")], &sent[..50_000]));
    let names = Names::of(&[("files.example", &["127.0.0.1"])]);
    names.then("files.example", &["169.254.169.254"]);
    match server.fetch_by(server.rules(), Arc::clone(&names), &server.link("files.example", &bytes)) {
        Err(FetchError::Private { address, .. }) => assert_eq!(address.to_string(), "169.254.169.254"),
        other => panic!("{other:?}"),
    }
    assert_eq!((server.asked().len(), names.count.load(Ordering::SeqCst)), (1, 2));
}

#[test]
fn only_whom_an_authority_vouches_for_is_believed() {
    let bytes = noise(10);
    let server = Server::of(bytes.clone());
    let stranger = Server::of(bytes.clone());
    for (rules, host) in [
        (Rules { ca_file: None, ..server.rules() }, "files.example"),
        (Rules { ca_file: Some(stranger.ca.clone()), ..server.rules() }, "files.example"),
        (server.rules(), "wrong.example"),
    ] {
        let names = Names::of(&[("files.example", &["127.0.0.1"]), ("wrong.example", &["127.0.0.1"])]);
        let said = server.fetch_by(rules, names, &server.link(host, &bytes));
        assert!(matches!(said, Err(FetchError::Certificate { .. })), "{host}: {said:?}");
    }
    assert_eq!(server.asked().len(), 0);
    let file = server.temp.path().join("none.pem");
    std::fs::write(&file, "no certificate").unwrap();
    for path in [file, server.temp.path().join("missing.pem")] {
        let said = Fetcher::new(Rules { ca_file: Some(path), ..Rules::default() }).unwrap_err();
        assert!(matches!(said, FetchError::Authorities { .. }), "{said}");
    }
}

#[test]
fn cancelling_ends_it_at_once() {
    struct After(AtomicU64);
    impl Progress for After {
        fn step(&self, done: u64, _: Option<u64>) {
            self.0.store(done, Ordering::SeqCst);
        }
        fn cancelled(&self) -> bool {
            self.0.load(Ordering::SeqCst) > 0
        }
    }
    let server = Server::start(|_, out| {
        answer(out, "200 OK", &[("Content-Length", "90000000")], &vec![0; 2 << 20]);
        std::thread::sleep(Duration::from_secs(20));
    });
    let rules = Rules { patience: Duration::from_secs(15), ..server.rules() };
    let names = Names::of(&[("files.example", &["127.0.0.1"])]);
    let fetcher = Fetcher::with_resolver(rules, names).unwrap();
    let link = server.link("files.example", b"");
    let said = fetcher.fetch(&link, &server.target(), &After(AtomicU64::new(0))).unwrap_err();
    assert!(matches!(said, FetchError::Cancelled { .. }), "{said}");
    assert!(!server.target().exists());
}

/// The thread that fetches may not open anything for writing.
#[test]
fn fetching_is_confined() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("x");
    let inside = std::thread::scope(|scope| {
        let tried = scope.spawn(|| {
            confine();
            std::fs::write(&path, "x").map_err(|error| error.kind())
        });
        tried.join().unwrap()
    });
    let landlock =
        std::fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|lsm| lsm.contains("landlock"));
    assert!(!landlock || inside == Err(io::ErrorKind::PermissionDenied), "{inside:?}");
    std::fs::write(&path, "x").unwrap();
}
