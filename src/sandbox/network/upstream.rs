//! The proxy that the server itself has to use, as its variables say.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

/// The server's own way out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    http: Option<ProxyUrl>,
    https: Option<ProxyUrl>,
    /// Hosts that are reached without it, as `NO_PROXY` lists them.
    except: Vec<String>,
}

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ProxyUrl {
    pub host: String,
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

// An authorization is a secret.
impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = |url: &Option<ProxyUrl>| url.as_ref().map(|u| format!("{}:{}", u.host, u.port));
        f.debug_struct("Upstream")
            .field("http", &place(&self.http))
            .field("https", &place(&self.https))
            .field("except", &self.except)
            .finish()
    }
}

impl Upstream {
    /// Takes the values of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`; a URL that is no HTTP
    /// proxy's is named in the error.
    ///
    /// # Errors
    /// The operator's: one of the URLs cannot be used.
    pub fn read(
        http: Option<&str>,
        https: Option<&str>,
        except: Option<&str>,
    ) -> Result<Self, String> {
        let url = |text: Option<&str>| {
            text.filter(|text| !text.is_empty())
                .map(|text| ProxyUrl::read(text).ok_or_else(|| without_secret(text)))
                .transpose()
        };
        let except = except.unwrap_or_default().split([',', ' ']);
        Ok(Self {
            http: url(http)?,
            https: url(https)?,
            except: except
                .map(|name| name.trim().trim_start_matches("*.").trim_start_matches('.'))
                .filter(|name| !name.is_empty())
                .map(str::to_ascii_lowercase)
                .collect(),
        })
    }

    /// The proxy for a host: a tunnel's, or a plain request's.
    pub(super) fn of(&self, host: &str, port: u16, tunnel: bool) -> Option<&ProxyUrl> {
        let host = host.to_ascii_lowercase();
        let with_port = format!("{host}:{port}");
        let excepted = |name: &String| {
            name == "*"
                || *name == host
                || *name == with_port
                || host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.ends_with('.'))
        };
        let proxy = if tunnel { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !self.except.iter().any(excepted))
    }
}

impl ProxyUrl {
    fn read(text: &str) -> Option<Self> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return None,
            None => text,
        };
        let rest = rest.split(['/', '?']).next()?;
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (place, 80),
        };
        let authorization = user.map(|user| {
            let plain = percent_decode_str(user).collect::<Vec<u8>>();
            format!("Basic {}", STANDARD.encode(plain))
        });
        let host = host.trim_matches(['[', ']']).to_owned();
        (!host.is_empty()).then_some(Self {
            host,
            port,
            authorization,
        })
    }
}

fn without_secret(url: &str) -> String {
    url.rsplit_once('@')
        .map_or(url, |(_, place)| place)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_variables() {
        let upstream = Upstream::read(
            Some("proxy:3128"),
            Some("http://ada:p%40ss@proxy.internal:8080/"),
            Some("localhost, .corp.example,*.x.org"),
        )
        .unwrap();
        let https = upstream.of("packages.example", 443, true).unwrap();
        assert_eq!((https.host.as_str(), https.port), ("proxy.internal", 8080));
        assert_eq!(https.authorization.as_deref(), Some("Basic YWRhOnBAc3M="));
        assert_eq!(
            upstream.of("packages.example", 80, false).unwrap().port,
            3128
        );
        assert!(upstream.of("git.corp.example", 443, true).is_none());
        assert!(upstream.of("x.org", 443, true).is_none());
        assert!(upstream.of("notx.org", 443, true).is_some());
        assert!(!format!("{upstream:?}").contains("YWRh"));
        let refused = Upstream::read(None, Some("socks5://ada:secret@x:1"), None);
        assert_eq!(refused.unwrap_err(), "x:1");
    }
}
