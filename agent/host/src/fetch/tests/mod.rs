//! Fetching from a real TLS server on this host, whose answers a test writes byte by byte.

mod hostile;
mod ways;

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use sha2::Digest as _;

use super::*;

/// What was asked: the request's lines.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) lines: Vec<String>,
    /// How many requests came before.
    pub(super) n: usize,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The first byte that is asked for.
    pub(super) fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

type Answers = Arc<dyn Fn(&Asked, &mut dyn Write) + Send + Sync>;

/// A TLS server on 127.0.0.1.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) ca: PathBuf,
    pub(super) asked: Arc<Mutex<Vec<Asked>>>,
    pub(super) temp: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(answers: impl Fn(&Asked, &mut dyn Write) + Send + Sync + 'static) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names = ["files.example", "other.example", "localhost", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        let ca_file = temp.path().join("ca.pem");
        std::fs::write(&ca_file, ca.pem()).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![leaf.der().clone()],
                    PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
                )
                .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let answers: Answers = Arc::new(answers);
        let thread = {
            let (asked, stop) = (Arc::clone(&asked), Arc::clone(&stop));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (config, asked, answers) =
                        (Arc::clone(&config), Arc::clone(&asked), Arc::clone(&answers));
                    std::thread::spawn(move || serve(stream.unwrap(), config, &asked, &answers));
                }
            })
        };
        Self { port, ca: ca_file, asked, temp, stop, thread: Some(thread) }
    }

    /// One that gives these bytes to everybody.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self::start(move |_, out| whole(out, &bytes))
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Rules under which this server is reached, impatient.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            reach: Reach::parse(&["127.0.0.1".to_owned()]).unwrap(),
            patience: Duration::from_millis(600),
            tries: 3,
            pause: Duration::from_millis(1),
            ca_file: Some(self.ca.clone()),
            ..Rules::default()
        }
    }

    pub(super) fn link(&self, host: &str, bytes: &[u8]) -> Link {
        link(&format!("https://{host}:{}/a/file.tgz", self.port), bytes)
    }

    pub(super) fn target(&self) -> PathBuf {
        self.temp.path().join("fetched")
    }

    /// Fetches `files.example`, which is here.
    pub(super) fn fetch(&self, bytes: &[u8]) -> Result<u64, FetchError> {
        self.fetch_with(self.rules(), &self.link("files.example", bytes))
    }

    pub(super) fn fetch_with(&self, rules: Rules, link: &Link) -> Result<u64, FetchError> {
        let names = Names::of(&[("files.example", &["127.0.0.1"]), ("other.example", &["127.0.0.1"])]);
        self.fetch_by(rules, names, link)
    }

    pub(super) fn fetch_by(&self, rules: Rules, names: Arc<Names>, link: &Link) -> Result<u64, FetchError> {
        let fetched = Fetcher::with_resolver(rules, names).unwrap().fetch(link, &self.target(), &());
        assert_eq!(fetched.is_ok(), self.target().exists(), "{fetched:?}");
        fetched
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(tcp: TcpStream, config: Arc<rustls::ServerConfig>, asked: &Mutex<Vec<Asked>>, answers: &Answers) {
    // A client that looks at the certificate and leaves is no failure here.
    let _ = tcp.set_read_timeout(Some(Duration::from_secs(10)));
    let Ok(connection) = rustls::ServerConnection::new(config) else { return };
    let mut stream = rustls::StreamOwned::new(connection, tcp);
    let mut lines = Vec::new();
    {
        let mut reader = BufReader::new(&mut stream);
        loop {
            let mut line = String::new();
            if !reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
    }
    if lines.is_empty() {
        return;
    }
    let request = {
        let mut all = asked.lock().unwrap();
        let request = Asked { lines, n: all.len() };
        all.push(request.clone());
        request
    };
    answers(&request, &mut stream);
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// A whole answer.
pub(super) fn whole(out: &mut dyn Write, bytes: &[u8]) {
    answer(out, "200 OK", &[("Content-Length", &bytes.len().to_string())], bytes);
}

/// An answer as it is said to be, its body as it is.
pub(super) fn answer(out: &mut dyn Write, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    // The client may have gone: it says itself why.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(body)).and_then(|()| out.flush());
}

pub(super) fn link(url: &str, bytes: &[u8]) -> Link {
    Link::parse(&format!("{url}#sha256={}", hex::encode(sha2::Sha256::digest(bytes)))).unwrap()
}

pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut x = 88_172_645_463_325_252_u64;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 24) as u8
        })
        .collect()
}

/// A resolver: each time a name is asked for, its next list of addresses; the last one stays.
#[derive(Debug, Default)]
pub(super) struct Names {
    lists: Mutex<Vec<(String, VecDeque<Vec<IpAddr>>)>>,
    pub(super) count: AtomicUsize,
}

impl Names {
    pub(super) fn of(names: &[(&str, &[&str])]) -> Arc<Self> {
        let found = Self::default();
        for (name, addresses) in names {
            found.then(name, addresses);
        }
        Arc::new(found)
    }

    pub(super) fn then(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let mut lists = self.lists.lock().unwrap();
        match lists.iter_mut().find(|(found, _)| found == name) {
            Some((_, list)) => list.push_back(addresses),
            None => lists.push((name.to_owned(), [addresses].into())),
        }
    }
}

impl Resolve for Names {
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.count.fetch_add(1, Ordering::SeqCst);
        let mut lists = self.lists.lock().unwrap();
        let Some((_, list)) = lists.iter_mut().find(|(name, _)| name == host) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such name"));
        };
        let next = if list.len() > 1 { list.pop_front() } else { list.front().cloned() };
        Ok(next.unwrap_or_default())
    }
}

/// A proxy that makes tunnels; who asked for which comes out.
pub(super) fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen) = (stream.unwrap(), Arc::clone(&seen));
            std::thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let port: u16 = head.split([' ', ':']).nth(2).unwrap().parse().unwrap();
                let authorized = head.contains("Proxy-Authorization: Basic bWU6cHc=");
                seen.lock().unwrap().push(head);
                if !authorized {
                    stream.write_all(b"HTTP/1.1 407 Who are you\r\n\r\n").unwrap();
                    return;
                }
                let mut to = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let (mut back, mut back_to) = (to.try_clone().unwrap(), stream.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = io::copy(&mut back, &mut back_to);
                    let _ = back_to.shutdown(std::net::Shutdown::Both);
                });
                let _ = io::copy(&mut stream, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (port, asked)
}
