//! The way out through a proxy, as the usual variables say it. Owns their reading; must not connect.

use base64::Engine as _;
use url::Url;

use super::FetchError;

/// An HTTP proxy and who goes past it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// The header's value, where the proxy wants to know who asks.
    pub(super) authorization: Option<String>,
    past: Vec<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl Proxy {
    /// From `https_proxy` and `no_proxy`; an empty one is none.
    pub fn parse(proxy: &str, no_proxy: &str) -> Result<Option<Self>, FetchError> {
        if proxy.trim().is_empty() {
            return Ok(None);
        }
        let text =
            if proxy.contains("://") { proxy.trim().to_owned() } else { format!("http://{}", proxy.trim()) };
        let url = Url::parse(&text).map_err(|_| FetchError::Proxy("its address is not a URL"))?;
        if url.scheme() != "http" {
            return Err(FetchError::Proxy("its address does not begin with http://"));
        }
        let host = url.host_str().ok_or(FetchError::Proxy("its address has no host"))?;
        let authorization = (!url.username().is_empty()).then(|| {
            let plain =
                [percent(url.username()), b":".to_vec(), percent(url.password().unwrap_or(""))].concat();
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain))
        });
        let past = no_proxy.split(',').map(|entry| entry.trim().trim_start_matches('.').to_ascii_lowercase());
        Ok(Some(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(80),
            authorization,
            past: past.filter(|entry| !entry.is_empty()).collect(),
        }))
    }

    /// Whether this host is reached without the proxy.
    pub(super) fn is_past(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.past.iter().any(|entry| {
            entry == "*"
                || host == *entry
                || host.strip_suffix(entry.as_str()).is_some_and(|above| above.ends_with('.'))
        })
    }
}

/// `%41` is `A`.
fn percent(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let code = more.get(..2).filter(|_| *first == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        if let Some(byte) = code {
            bytes.push(byte);
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_as_others_read_them() {
        assert_eq!(Proxy::parse(" ", "").unwrap(), None);
        let proxy =
            Proxy::parse("http://me:p%40ss@proxy.corp:3128", "localhost,.corp, 10.0.0.1").unwrap().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.corp", 3128));
        assert_eq!(proxy.authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
        assert!(!format!("{proxy:?}").contains("bWU6"));
        for (host, past) in [
            ("localhost", true),
            ("a.corp", true),
            ("corp", true),
            ("xcorp", false),
            ("10.0.0.1", true),
            ("x", false),
        ] {
            assert_eq!(proxy.is_past(host), past, "{host}");
        }
        assert_eq!(Proxy::parse("proxy:8080", "*").unwrap().unwrap().port, 8080);
        assert!(Proxy::parse("socks5://p:1", "").is_err());
    }
}
