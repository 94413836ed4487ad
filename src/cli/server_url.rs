//! The address of a server, and what of it a git remote or git's credential question shares.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ureq::http::Uri;

use super::client::ClientError;
use crate::app::AppName;

/// `http://127.0.0.1:7007`: http or https, a host, perhaps a port and a path; no user, no query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// Without a `/` at the end.
    text: String,
    origin: Origin,
    path: String,
}

/// Scheme, host and port, in the one form in which they can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let host = uri.host()?.to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(default_port);
        (!host.is_empty()).then_some(Self { scheme, host, port })
    }
}

impl ServerUrl {
    /// The address as it was given, without a `/` at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL of an app's repository.
    pub fn git_url(&self, app: &AppName) -> String {
        format!("{}/{app}.git", self.text)
    }

    /// Whether it is reached over TLS, and its host and port.
    pub fn address(&self) -> (bool, &str, u16) {
        let Origin { scheme, host, port } = &self.origin;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (scheme == "https", host, *port)
    }

    /// A path of the server, as a request names it.
    pub fn path_of(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }

    /// Whether the server is on this machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.origin.host.as_str();
        let is_loopback_v4 = |address: Ipv4Addr| address.is_loopback();
        host == "localhost" || host == "[::1]" || host.parse().is_ok_and(is_loopback_v4)
    }

    /// The app whose repository on this server `remote` is.
    pub fn app_of(&self, remote: &str) -> Option<AppName> {
        let uri: Uri = remote.parse().ok()?;
        let same = Origin::of(&uri)? == self.origin;
        let name = uri.path().strip_prefix(&self.path)?.strip_prefix('/')?;
        let name = name.trim_end_matches('/');
        let name = name.strip_suffix(".git").unwrap_or(name);
        same.then(|| name.parse().ok()).flatten()
    }

    /// Whether git asks about this server: `protocol` and `host` as git writes them, the host with
    /// its port.
    pub fn is_at(&self, protocol: &str, host: &str) -> bool {
        let uri = format!("{protocol}://{host}/").parse::<Uri>().ok();
        uri.and_then(|uri| Origin::of(&uri)).as_ref() == Some(&self.origin)
    }
}

impl FromStr for ServerUrl {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        // A user in the URL would be a password in a file and in messages: not even this one
        // shows it.
        if text.contains('@') {
            return Err(ClientError::UserInUrl);
        }
        let error = || ClientError::BadUrl {
            url: text.to_owned(),
        };
        let text = text.trim_end_matches('/');
        let uri: Uri = text.parse().map_err(|_| error())?;
        let origin = Origin::of(&uri).ok_or_else(error)?;
        if uri.query().is_some() || text.contains('#') {
            return Err(error());
        }
        Ok(Self {
            text: text.to_owned(),
            origin,
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The app that a remote's URL ends with, whatever server it is on.
pub fn app_at_end(remote: &str) -> Option<AppName> {
    let name = remote.trim_end_matches('/');
    let name = name.strip_suffix(".git").unwrap_or(name);
    name.rsplit(['/', ':']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_http_a_host_and_no_secret() {
        assert_eq!(
            url("http://127.0.0.1:7007/").as_str(),
            "http://127.0.0.1:7007"
        );
        for text in [
            "",
            "127.0.0.1:7007",
            "localhost",
            "ftp://x",
            "http://",
            "http://x?y",
            "http://x#y",
            "http://a b",
            "http://x\n",
        ] {
            let error = text.parse::<ServerUrl>().unwrap_err();
            assert!(matches!(error, ClientError::BadUrl { .. }), "{text:?}");
        }
        let error = "http://me:hunter2@x".parse::<ServerUrl>().unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }

    #[test]
    fn a_remote_of_the_server_names_its_app() {
        let app = |server: &str, remote: &str| url(server).app_of(remote).map(|a| a.to_string());
        let local = "http://127.0.0.1:7007";
        for remote in [
            "http://127.0.0.1:7007/hello.git",
            "http://127.0.0.1:7007/hello",
            "http://127.0.0.1:7007/hello.git/",
            "http://me:secret@127.0.0.1:7007/hello.git",
            "HTTP://127.0.0.1:7007/hello.git",
        ] {
            assert_eq!(app(local, remote).as_deref(), Some("hello"), "{remote}");
        }
        for remote in [
            "https://127.0.0.1:7007/hello.git",
            "http://127.0.0.1:7008/hello.git",
            "http://127.0.0.1/hello.git",
            "http://127.0.0.1:7007/a/hello.git",
            "http://127.0.0.1:7007/",
            "http://127.0.0.1:7007/Bad_Name.git",
            "git@127.0.0.1:hello.git",
            "/srv/git/hello.git",
            "../hello",
            "",
        ] {
            assert_eq!(app(local, remote), None, "{remote}");
        }
        let https = "https://paas.example.com/builds";
        let remote = "https://PaaS.example.com:443/builds/hello.git";
        assert_eq!(app(https, remote).as_deref(), Some("hello"));
        assert_eq!(app(https, "https://paas.example.com/hello.git"), None);
    }

    #[test]
    fn a_remote_elsewhere_names_its_app_by_its_end() {
        for remote in ["http://x:1/hello.git", "git@x:hello.git", "../hello"] {
            assert_eq!(app_at_end(remote).unwrap().as_str(), "hello", "{remote}");
        }
        assert_eq!(app_at_end("http://x:1/"), None);
    }

    #[test]
    fn git_s_question_is_for_the_same_protocol_host_and_port() {
        let server = url("http://127.0.0.1:7007");
        assert!(server.is_at("http", "127.0.0.1:7007"));
        for (protocol, host) in [
            ("https", "127.0.0.1:7007"),
            ("http", "127.0.0.1"),
            ("http", "127.0.0.1:7008"),
            ("http", "evil.example.com"),
            ("http", "evil.example.com/127.0.0.1:7007"),
            ("http", ""),
            ("", "127.0.0.1:7007"),
        ] {
            assert!(!server.is_at(protocol, host), "{protocol} {host}");
        }
        assert!(url("https://x").is_at("https", "X:443"));
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for text in [
            "http://localhost",
            "http://127.1.2.3:1",
            "http://[::1]:7007",
        ] {
            assert!(url(text).is_loopback(), "{text}");
        }
        for text in [
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://[::2]",
        ] {
            assert!(!url(text).is_loopback(), "{text}");
        }
    }
}
