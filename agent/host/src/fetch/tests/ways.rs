//! Files that arrive: whole, in parts, by redirects, through a proxy.

use std::sync::atomic::AtomicU64;

use super::*;

#[test]
fn a_file_arrives_and_is_what_was_asked_for() {
    let bytes = noise(3_000_000);
    let server = Server::of(bytes.clone());
    assert_eq!(server.fetch(&bytes).unwrap(), bytes.len() as u64);
    assert!(std::fs::read(server.target()).unwrap() == bytes);
    let asked = &server.asked()[0];
    assert_eq!(asked.lines[0], "GET /a/file.tgz HTTP/1.1");
    assert_eq!(asked.header("host"), Some(format!("files.example:{}", server.port).as_str()));
    assert_eq!((asked.header("range"), asked.header("accept-encoding")), (None, Some("identity")));
    std::fs::remove_file(server.target()).unwrap();
    let url = format!("https://127.0.0.1:{}/?key=k", server.port);
    let sha512 = Link::parse(&format!("{url}#sha512={}", hex::encode(sha2::Sha512::digest(&bytes)))).unwrap();
    server.fetch_with(server.rules(), &sha512).unwrap();
    assert_eq!(server.asked()[1].lines[0], "GET /?key=k HTTP/1.1");
}

#[test]
fn a_length_that_is_not_said_and_pieces_are_fine() {
    let bytes = noise(200_000);
    let sent = bytes.clone();
    let server = Server::start(move |asked, out| {
        if asked.n == 0 {
            answer(out, "200 OK", &[], &sent);
        } else {
            let mut body = Vec::new();
            for piece in sent.chunks(7001) {
                body.extend(format!("{:x}\r\n", piece.len()).bytes());
                body.extend_from_slice(piece);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            answer(out, "200 OK", &[("Transfer-Encoding", "chunked")], &body);
        }
    });
    for _ in 0..2 {
        server.fetch(&bytes).unwrap();
        std::fs::remove_file(server.target()).unwrap();
    }
}

/// The server breaks off after so many bytes of each answer, at as many places as there are.
#[test]
fn a_cut_download_goes_on_where_it_was() {
    let bytes = noise(4 << 20);
    for step in [(4 << 20) / 100 * 37, (1 << 20) + 1, (3 << 20) + 17] {
        let sent = bytes.clone();
        let server = Server::start(move |asked, out| {
            let from = asked.from().unwrap_or(0);
            let end = (from + step).min(sent.len());
            let length = (sent.len() - from).to_string();
            let range = format!("bytes {from}-{}/{}", sent.len() - 1, sent.len());
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            let headers = [("Content-Length", &*length), ("Content-Range", &*range), ("ETag", "\"one\"")];
            answer(out, status, &headers, &sent[from..end]);
        });
        server.fetch(&bytes).unwrap();
        let asked = server.asked();
        assert_eq!(asked.len(), bytes.len().div_ceil(step));
        for (n, asked) in asked.iter().enumerate().skip(1) {
            assert!(asked.from().unwrap() <= n * step && asked.from().unwrap() > (n - 1) * step, "{asked:?}");
            assert_eq!(asked.header("if-range"), Some("\"one\""));
        }
    }
}

#[test]
fn cuts_at_any_percent_end_well() {
    let bytes = noise(100_000);
    for percent in 0..100 {
        let sent = bytes.clone();
        let at = sent.len() * percent / 100;
        let ranges = percent % 2 == 0;
        let server = Server::start(move |asked, out| {
            let length = sent.len().to_string();
            match (asked.n, asked.from()) {
                (0, _) => {
                    let headers =
                        [("Content-Length", &*length), ("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT")];
                    answer(out, "200 OK", &headers, &sent[..at]);
                }
                (_, Some(from)) if ranges => {
                    let range = format!("bytes {from}-{}/{length}", sent.len() - 1);
                    answer(out, "206 Partial Content", &[("Content-Range", &range)], &sent[from..]);
                }
                // Not every server has ranges, and a file that has changed is sent whole.
                _ => whole(out, &sent),
            }
        });
        assert_eq!(server.fetch(&bytes).unwrap(), bytes.len() as u64, "cut at {percent} %");
        assert_eq!(server.asked().len(), 2, "cut at {percent} %");
    }
}

#[test]
fn a_server_that_comes_back_with_another_part_is_asked_for_all() {
    let bytes = noise(100_000);
    let sent = bytes.clone();
    let server = Server::start(move |asked, out| match asked.n {
        0 => answer(out, "200 OK", &[("Content-Length", "100000"), ("ETag", "\"a\"")], &sent[..50_000]),
        1 => answer(out, "206 Partial Content", &[("Content-Range", "bytes 0-99999/100000")], &sent),
        _ => whole(out, &sent),
    });
    server.fetch(&bytes).unwrap();
    let asked = server.asked();
    assert_eq!((asked[1].from(), asked[2].from()), (Some(50_000), None));
    // A weak tag does not promise the same bytes.
    let sent = bytes.clone();
    let weak = Server::start(move |asked, out| match asked.n {
        0 => answer(out, "200 OK", &[("Content-Length", "100000"), ("ETag", "W/\"a\"")], &sent[..50_000]),
        _ => whole(out, &sent),
    });
    weak.fetch(&bytes).unwrap();
    assert_eq!(weak.asked()[1].from(), None);
}

#[test]
fn a_busy_server_is_asked_again() {
    let bytes = noise(1000);
    let sent = bytes.clone();
    let server = Server::start(move |asked, out| match asked.n {
        0 => answer(out, "503 Busy", &[("Content-Length", "0")], b""),
        1 => answer(out, "429 Slower", &[("Content-Length", "0")], b""),
        _ => whole(out, &sent),
    });
    server.fetch(&bytes).unwrap();
}

#[test]
fn redirects_are_followed_to_hosts_that_may_be_reached() {
    let bytes = noise(1000);
    let sent = bytes.clone();
    let port = Arc::new(AtomicU64::new(0));
    let own = Arc::clone(&port);
    let server = Server::start(move |asked, out| {
        let away = format!("https://other.example:{}/c?x=1", own.load(Ordering::SeqCst));
        match asked.n {
            0 => answer(out, "302 Found", &[("Location", "../b")], b"away"),
            1 => answer(out, "308 Permanent Redirect", &[("Location", &away), ("Content-Length", "0")], b""),
            _ => whole(out, &sent),
        }
    });
    port.store(server.port.into(), Ordering::SeqCst);
    server.fetch(&bytes).unwrap();
    let asked = server.asked();
    assert_eq!(asked[1].lines[0], "GET /b HTTP/1.1");
    assert_eq!(asked[2].lines[0], "GET /c?x=1 HTTP/1.1");
    assert_eq!(asked[2].header("host"), Some(format!("other.example:{}", server.port).as_str()));
    assert!(asked[2].header("referer").is_none() && asked[2].header("authorization").is_none());
}

#[test]
fn a_proxy_is_used_but_for_those_past_it() {
    let bytes = noise(50_000);
    let server = Server::of(bytes.clone());
    let (port, tunnels) = proxy();
    let through = |text: &str, past: &str| Rules {
        proxy: Proxy::parse(&format!("http://{text}127.0.0.1:{port}"), past).unwrap(),
        ..server.rules()
    };
    let link = server.link("files.example", &bytes);
    server.fetch_with(through("me:pw@", "other.example"), &link).unwrap();
    assert!(
        tunnels.lock().unwrap()[0]
            .starts_with(&format!("CONNECT files.example:{} HTTP/1.1\r\n", server.port))
    );
    std::fs::remove_file(server.target()).unwrap();
    server.fetch_with(through("me:pw@", ".example"), &link).unwrap();
    assert_eq!(tunnels.lock().unwrap().len(), 1);
    std::fs::remove_file(server.target()).unwrap();
    let said = server.fetch_with(through("", ""), &link).unwrap_err().to_string();
    assert!(said.contains("407"), "{said}");
    // What is private is not asked of it either.
    let names = Names::of(&[("files.example", &["10.0.0.1"])]);
    let said = server.fetch_by(through("me:pw@", ""), names, &link).unwrap_err();
    assert!(matches!(said, FetchError::Private { .. }), "{said}");
    let said =
        server.fetch_by(through("me:pw@", ""), Names::of(&[]), &link_to("https://intranet/x")).unwrap_err();
    assert!(matches!(said, FetchError::Cut { .. }), "{said}");
}

fn link_to(url: &str) -> Link {
    link(url, b"")
}
