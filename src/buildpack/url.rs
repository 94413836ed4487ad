//! URLs of buildpacks. They come from strangers and go to `git` and to an HTTP client, so that
//! little is allowed: http and https, a host, a path of plain characters, no credentials.

use super::{BuildpackError, Reference};
use crate::digest::Digest;

/// Longest URL, its `#ref` included.
const LIMIT_BYTES: usize = 2000;

/// Ends of the paths that are tarballs.
const TARBALLS: [&str; 2] = [".tgz", ".tar.gz"];

/// Whether a path or URL is a tarball's by its name.
pub(super) fn is_tarball(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    TARBALLS.iter().any(|end| path.ends_with(end))
}

/// Reads a URL; `None` where the text is not meant to be one.
pub(super) fn parse(text: &str) -> Result<Option<Reference>, BuildpackError> {
    let refused = |what| BuildpackError::Url {
        url: text.chars().take(200).collect(),
        what,
    };
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else {
        // `ext::…`, `ssh://…`, `git@host:path`, `--upload-pack=…`.
        let other = text.contains("://")
            || text.contains("::")
            || text.contains('@')
            || text.starts_with('-');
        return if other {
            Err(refused("is neither http:// nor https://"))
        } else {
            Ok(None)
        };
    };
    if text.len() > LIMIT_BYTES {
        return Err(refused("is longer than 2000 characters"));
    }
    let (address, fragment) = match rest.split_once('#') {
        Some((address, fragment)) => (address, Some(fragment)),
        None => (rest, None),
    };
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~/%+:,=&?@[]".contains(&c);
    if !address.bytes().all(plain) {
        return Err(refused("has characters that a URL here must not have"));
    }
    let host = address.split(['/', '?']).next().unwrap_or_default();
    if host.contains('@') {
        return Err(refused("has credentials in it, which logs would show"));
    }
    if !host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') {
        return Err(refused("names no host"));
    }
    let url = text[..text.len() - rest.len() + address.len()].to_owned();
    if is_tarball(address) {
        let checksum = fragment.map(str::parse::<Digest>).transpose();
        let checksum = checksum
            .map_err(|_| refused("ends with something else than #sha256:<64 hex digits>"))?;
        return Ok(Some(Reference::Tarball { url, checksum }));
    }
    let reference = fragment.filter(|fragment| !fragment.is_empty());
    if reference.is_some_and(|name| !is_ref(name)) {
        return Err(refused("names no branch, tag or commit after #"));
    }
    let reference = reference.map(str::to_owned);
    Ok(Some(Reference::Git { url, reference }))
}

/// Whether git could take it for a branch, a tag or a commit, and for nothing else.
fn is_ref(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._/+".contains(&c);
    name.bytes().all(plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !name.contains("..")
        && !name.contains("//")
        && !name.ends_with(['/', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_urls_are_refused() {
        for text in [
            "file:///etc",
            "ext::sh -c touch% /tmp/x",
            "ssh://git@example.com/x",
            "git@example.com:a/b.git",
            "git://example.com/a",
            "--upload-pack=touch x",
            "-oProxyCommand=x",
            "https://-oProxyCommand=x/y",
            "https:///etc/passwd",
            "https://user:secret@example.com/a",
            "https://example.com/a b",
            "https://example.com/a\nb",
            "https://example.com/`id`",
            "https://example.com/$(id)",
            "https://example.com/a#--upload-pack=x",
            "https://example.com/a#a..b",
            "https://example.com/a#a:b",
            "https://example.com/a#refs/../x",
            "https://example.com/a.tgz#sha256:00",
            "http://",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&format!("https://example.com/{}", "a".repeat(3000))).is_err());
    }

    #[test]
    fn names_and_paths_are_no_urls() {
        for text in ["heroku/lang", "./x", "/x/y.tgz", "inline", ""] {
            assert_eq!(parse(text).unwrap(), None, "{text}");
        }
    }

    #[test]
    fn git_and_tarballs_are_told_apart() {
        let git = parse("https://example.com/me/pack.git#v1.2-rc/3").unwrap();
        assert_eq!(
            git,
            Some(Reference::Git {
                url: "https://example.com/me/pack.git".into(),
                reference: Some("v1.2-rc/3".into())
            })
        );
        let tarball = parse("http://[::1]:80/x.tgz?token=1").unwrap();
        assert!(
            matches!(tarball, Some(Reference::Tarball { .. })),
            "{tarball:?}"
        );
    }
}
