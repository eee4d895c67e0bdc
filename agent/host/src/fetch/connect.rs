//! A connection to the very address that was checked. Owns that order — resolve once, check every address, connect to
//! one of those — and TLS; must not know what is asked over the connection.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::proxy::Proxy;
use super::{FetchError, Fetcher};

/// The most bytes of a proxy's answer.
const ANSWER: usize = 16 * 1024;

/// Why an attempt ended.
pub(super) enum Stop {
    /// For good.
    Final(FetchError),
    /// It may go better the next time.
    Cut(String),
}

/// Authorities of the system and of a file.
pub(super) fn tls(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, FetchError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let what = format!("`{}`", path.display());
        let fail = |why: String| FetchError::Authorities { what: what.clone(), why };
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let found = found.map_err(|error| fail(error.to_string()))?;
        if found.is_empty() {
            return Err(fail("there is none in it".into()));
        }
        for certificate in found {
            roots.add(certificate).map_err(|error| fail(error.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err(FetchError::Authorities {
            what: "the system's store".into(),
            why: "there are none; install them (ca-certificates), or name a file of them".into(),
        });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Authorities { what: "this program".into(), why: error.to_string() })?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Connects to a URL's host; `asked` is what errors name.
pub(super) async fn open(fetcher: &Fetcher, url: &Url, asked: &str) -> Result<TlsStream<TcpStream>, Stop> {
    let patience = fetcher.rules.patience;
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    let name = match url.host() {
        Some(Host::Domain(name)) => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok(),
        Some(Host::Ipv4(v4)) => Some(ServerName::IpAddress(IpAddr::V4(v4).into())),
        Some(Host::Ipv6(v6)) => Some(ServerName::IpAddress(IpAddr::V6(v6).into())),
        None => None,
    };
    let name = name.ok_or_else(|| Stop::Cut(format!("`{host}` is no host's name")))?;
    let tcp = match &fetcher.rules.proxy {
        Some(proxy) if !proxy.is_past(host) => {
            // The proxy resolves the name itself; what is private by all that is known here is not asked of it.
            match addresses(fetcher, url).await {
                Ok(found) => check(fetcher, host, &found, asked)?,
                Err(Stop::Cut(_)) if matches!(url.host(), Some(Host::Domain(name)) if name.contains('.')) => {
                }
                Err(stop) => return Err(stop),
            }
            through(fetcher, proxy, host, port).await?
        }
        _ => {
            let found = addresses(fetcher, url).await?;
            check(fetcher, host, &found, asked)?;
            direct(fetcher, &found, port).await?
        }
    };
    let connector = TlsConnector::from(Arc::clone(&fetcher.tls));
    match timeout(patience, connector.connect(name, tcp)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls {
                Some(rustls::Error::InvalidCertificate(why)) => Err(Stop::Final(FetchError::Certificate {
                    url: asked.to_owned(),
                    host: host.to_owned(),
                    why: why.to_string(),
                })),
                _ => Err(Stop::Cut(format!("no TLS with {host}: {error}"))),
            }
        }
        Err(_) => Err(Stop::Cut(format!("{host} does not answer"))),
    }
}

/// All addresses of a URL's host, asked for once.
async fn addresses(fetcher: &Fetcher, url: &Url) -> Result<Vec<IpAddr>, Stop> {
    let host = match url.host() {
        // Decimal, octal and hexadecimal ways of writing an address are read as one by the URL's reader.
        Some(Host::Ipv4(v4)) => return Ok(vec![IpAddr::V4(v4)]),
        Some(Host::Ipv6(v6)) => return Ok(vec![IpAddr::V6(v6)]),
        Some(Host::Domain(name)) => name.to_owned(),
        None => return Err(Stop::Cut("there is no host".into())),
    };
    let resolver = Arc::clone(&fetcher.resolver);
    let name = host.clone();
    let asked = tokio::task::spawn_blocking(move || resolver.resolve(&name));
    match timeout(fetcher.rules.patience, asked).await {
        Ok(Ok(Ok(found))) if !found.is_empty() => Ok(found),
        Ok(Ok(Ok(_))) => Err(Stop::Cut(format!("{host} has no address"))),
        Ok(Ok(Err(error))) => Err(Stop::Cut(format!("cannot resolve {host}: {error}"))),
        Ok(Err(_)) | Err(_) => Err(Stop::Cut(format!("cannot resolve {host} in time"))),
    }
}

/// One address that may not be reached is enough: which one is used is not for the asker to say.
fn check(fetcher: &Fetcher, host: &str, found: &[IpAddr], asked: &str) -> Result<(), Stop> {
    for address in found {
        if let Some(kind) = fetcher.rules.reach.refusal(host, *address) {
            return Err(Stop::Final(FetchError::Private {
                url: asked.to_owned(),
                host: host.to_owned(),
                address: *address,
                kind,
            }));
        }
    }
    Ok(())
}

async fn direct(fetcher: &Fetcher, found: &[IpAddr], port: u16) -> Result<TcpStream, Stop> {
    let mut said = String::from("it has no address");
    for address in found {
        let to = SocketAddr::new(*address, port);
        match timeout(fetcher.rules.patience, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => said = format!("cannot connect to {to}: {error}"),
            Err(_) => said = format!("cannot connect to {to} in time"),
        }
    }
    Err(Stop::Cut(said))
}

/// A tunnel through a proxy. The proxy's own address is the administrator's choice and not checked.
async fn through(fetcher: &Fetcher, proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, Stop> {
    let patience = fetcher.rules.patience;
    let failed = |why: String| Stop::Cut(format!("the proxy {}:{}: {why}", proxy.host, proxy.port));
    let connecting = TcpStream::connect((proxy.host.as_str(), proxy.port));
    let mut stream = timeout(patience, connecting)
        .await
        .map_err(|_| failed("it does not answer".into()))?
        .map_err(|error| failed(error.to_string()))?;
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request.push_str("Proxy-Authorization: ");
        request.push_str(authorization);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let asking = async {
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // Byte by byte: what follows the answer is the tunnel's.
        while !answer.ends_with(b"\r\n\r\n") && answer.len() < ANSWER {
            answer.push(stream.read_u8().await?);
        }
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(patience, asking)
        .await
        .map_err(|_| failed("it does not answer".into()))?
        .map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split_whitespace().nth(1).unwrap_or_default();
    if text.starts_with("HTTP/1.") && status.starts_with('2') && status.len() == 3 {
        Ok(stream)
    } else {
        let first = text.lines().next().unwrap_or_default();
        Err(failed(format!("it answers `{}`", first.escape_debug().take(80).collect::<String>())))
    }
}
