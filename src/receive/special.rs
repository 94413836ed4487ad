//! Files that git itself reads: `.gitmodules` and `.gitattributes`. What is pushed here may be
//! cloned by a git that trusts them.
//!
//! Source: git's fsck.c, `fsck_blob`, and submodule-config.c, `check_submodule_url`.

use gix::bstr::{BStr, BString, ByteSlice as _};

/// The longest line of `.gitattributes` that git reads, and the largest file, in bytes.
const ATTRIBUTES_LINE_BYTES: usize = 2048;
const ATTRIBUTES_BYTES: usize = 100 << 20;

/// A file whose content is checked, by the name that it has in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Special {
    Modules,
    Attributes,
}

impl Special {
    pub const ALL: [Self; 2] = [Self::Modules, Self::Attributes];

    /// By a name, in each of the forms that a file system may take for it.
    pub fn of(name: &[u8]) -> Option<Self> {
        // The last part is what a backslash leads to.
        let last = match name.rfind_byte(b'\\') {
            Some(at) => &name[at + 1..],
            None => name,
        };
        // Nearly all names start otherwise, and the forms are costly to tell.
        let may_be = match last {
            [b'.', second, ..] => matches!(second, b'g' | b'G' | 0x80..),
            [b'g' | b'G', ..] => last.contains(&b'~'),
            [first, ..] => *first >= 0x80,
            _ => false,
        };
        if !may_be {
            return None;
        }
        if is_form_of(last, "gitmodules", "gi7eba") {
            Some(Self::Modules)
        } else if is_form_of(last, "gitattributes", "gi7d29") {
            Some(Self::Attributes)
        } else {
            None
        }
    }

    /// Checks the content.
    ///
    /// # Errors
    /// What git would not read, or what would lead a clone astray.
    pub fn check(self, data: &[u8]) -> Result<(), String> {
        match self {
            Self::Modules => modules(data),
            Self::Attributes => attributes(data),
        }
    }
}

/// Whether a name is `.name` to HFS+, which passes over some characters, or to NTFS, which has
/// short names and passes over dots, blanks and streams at the end.
fn is_form_of(name: &[u8], full: &str, short: &str) -> bool {
    let text = name.to_str_lossy();
    let visible: String = text.chars().filter(|c| !is_ignored(*c)).collect();
    let lower = visible.to_lowercase();
    if lower.strip_prefix('.') == Some(full) {
        return true;
    }
    let lower = name.to_ascii_lowercase();
    let cut = lower
        .find_byte(b':')
        .map_or(&lower[..], |end| &lower[..end]);
    let bare = cut.trim_end_with(|c| c == '.' || c == ' ');
    if bare.strip_prefix(b".") == Some(full.as_bytes()) {
        return true;
    }
    let Some((stem, number)) = bare.split_once_str("~") else {
        return false;
    };
    let is_number = number.len() == 1 && (b'1'..=b'9').contains(&number[0]);
    let is_long_number =
        matches!(number.first(), Some(b'1'..=b'9')) && number.iter().all(u8::is_ascii_digit);
    // `GITMOD~1` to `~4`, then a digest of the name, shortened as the number grows.
    (stem == &full.as_bytes()[..6] && is_number && number[0] <= b'4')
        || (is_long_number && stem.len() + number.len() == 7 && short.as_bytes().starts_with(stem))
}

/// The characters that HFS+ does not see in names.
fn is_ignored(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

fn attributes(data: &[u8]) -> Result<(), String> {
    if data.len() > ATTRIBUTES_BYTES {
        return Err(format!(
            "as .gitattributes it has more than {ATTRIBUTES_BYTES} bytes"
        ));
    }
    if data.lines().any(|line| line.len() >= ATTRIBUTES_LINE_BYTES) {
        return Err(format!(
            "as .gitattributes it has a line of {ATTRIBUTES_LINE_BYTES} bytes or more"
        ));
    }
    Ok(())
}

fn modules(data: &[u8]) -> Result<(), String> {
    let refuse = |what: &str, value: &BStr| {
        Err(format!(
            "as .gitmodules it has the submodule {what} {value:?}"
        ))
    };
    for (name, key, value) in entries(data) {
        if name.is_empty() || has_dotdot(&name) {
            return refuse("name", name.as_ref());
        }
        let value = value.as_bstr();
        match key.as_str() {
            "url" if !is_good_url(value) => return refuse("URL", value),
            "path" if value.starts_with(b"-") => return refuse("path", value),
            "update" if value.starts_with(b"!") => return refuse("update command", value),
            _ => {}
        }
    }
    Ok(())
}

/// The name, key and value of each line of a submodule's section.
fn entries(data: &[u8]) -> Vec<(BString, String, BString)> {
    let metadata = gix::config::file::Metadata::from(gix::config::Source::Api);
    let Ok(file) = gix::config::File::from_bytes_no_includes(
        data,
        metadata,
        gix::config::file::init::Options::default(),
    ) else {
        // git goes on to where it cannot read any more; what it has read by then counts.
        return entries_by_line(data);
    };
    let mut found = Vec::new();
    for section in file.sections_by_name("submodule").into_iter().flatten() {
        let Some(name) = section.header().subsection_name() else {
            continue;
        };
        // A key may stand without a value, and has its section's name all the same.
        if section.body().value_names().next().is_some() {
            found.push((name.to_owned(), String::new(), BString::default()));
        }
        for key in section.body().value_names() {
            let key = key.clone();
            for value in section.body().values(&key) {
                found.push((name.to_owned(), key.to_lowercase(), value));
            }
        }
    }
    found
}

/// The same of a file that is not in order, as far as its lines are.
fn entries_by_line(data: &[u8]) -> Vec<(BString, String, BString)> {
    let mut name = BString::from("-");
    let mut found = Vec::new();
    for line in data.lines().map(<[u8]>::trim) {
        if let Some(section) = line.strip_prefix(b"[") {
            // Wherever quotes begin and end, a name between them must not lead up.
            name = if section.contains_str("\"\"") {
                BString::default()
            } else {
                section.replace("\"", "/").into()
            };
            found.push((name.clone(), String::new(), BString::default()));
        }
        if let Some((key, value)) = line.split_once_str("=") {
            let key = key.rsplit_once_str("]").map_or(key, |(_, key)| key);
            let key = key.trim().to_str_lossy().to_lowercase();
            let value = value.trim().trim_with(|c| c == '"');
            found.push((name.clone(), key, value.into()));
        }
    }
    found
}

fn has_dotdot(name: &[u8]) -> bool {
    name.split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|part| part == b"..")
}

/// Whether git would let a submodule come from there.
fn is_good_url(url: &BStr) -> bool {
    if url.starts_with(b"-") {
        return false;
    }
    let decoded = |url: &[u8]| percent_encoding::percent_decode(url).collect::<Vec<u8>>();
    if url.starts_with(b"./") || url.starts_with(b"../") {
        let mut next: &[u8] = url;
        let mut up = 0;
        loop {
            if let Some(rest) = next.strip_prefix(b"../") {
                next = rest;
                up += 1;
            } else if let Some(rest) = next.strip_prefix(b"./") {
                next = rest;
            } else {
                break;
            }
        }
        let is_host = up > 0 && matches!(next.first(), Some(b':' | b'/'));
        return !is_host && !decoded(url).contains(&b'\n');
    }
    let curl = ["http", "https", "ftp", "ftps"]
        .into_iter()
        .find_map(|scheme| {
            let rest = url.strip_prefix(scheme.as_bytes())?;
            // `https::` hands the rest to the helper as it is.
            rest.strip_prefix(b"::")
                .or_else(|| rest.starts_with(b"://").then_some(url))
        });
    curl.is_none_or(|url| has_host(url) && !decoded(url).contains(&b'\n'))
}

/// Whether an URL has a scheme and a host, and its percents are escapes.
fn has_host(url: &[u8]) -> bool {
    let Some((scheme, rest)) = url.split_once_str("://") else {
        return false;
    };
    let end = rest.find_byteset(b"/?#").unwrap_or(rest.len());
    let host = &rest[..end];
    let host = host.split_once_str("@").map_or(host, |(_, host)| host);
    // What follows the last colon is a port, unless that is inside of brackets.
    let (host, port) = match host.rfind_byteset(b":]") {
        Some(at) if host[at] == b':' => (&host[..at], &host[at + 1..]),
        _ => (host, &b""[..]),
    };
    let port = std::str::from_utf8(port).unwrap_or("-");
    let is_port =
        port.is_empty() || matches!(port.parse::<u16>(), Ok(1..)) && !port.starts_with('+');
    let is_scheme = !scheme.is_empty()
        && scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    let is_host = |b: &u8| b.is_ascii_alphanumeric() || b".-_[:]".contains(b);
    let escapes = url.find_iter(b"%").all(|at| {
        url.get(at + 1..at + 3)
            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    let path = &rest[end..];
    let path = &path[..path.find_byteset(b"?#").unwrap_or(path.len())];
    is_scheme
        && !host.is_empty()
        && host.iter().all(is_host)
        && is_port
        && escapes
        && stays_below_root(path)
}

/// Whether no `..` of a path leads above where it starts.
fn stays_below_root(path: &[u8]) -> bool {
    let mut depth = 0usize;
    for part in path.strip_prefix(b"/").unwrap_or(path).split_str("/") {
        let part = percent_encoding::percent_decode(part).collect::<Vec<u8>>();
        match part.as_slice() {
            b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return false,
            },
            _ => depth += 1,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_their_forms() {
        for name in [
            ".gitmodules",
            ".GitModules",
            ".git\u{200c}modules",
            "GITMOD~1",
            "gi7eba~1",
            "gi7eb~10",
            ".gitmodules ",
            ".gitmodules::$DATA",
            "a\\.gitmodules",
        ] {
            assert_eq!(
                Special::of(name.as_bytes()),
                Some(Special::Modules),
                "{name}"
            );
        }
        assert_eq!(Special::of(b".gitattributes"), Some(Special::Attributes));
        for name in [
            "gitmodules",
            ".gitmodules2",
            ".gitignore",
            "gitmod~5x",
            "a",
            "gi7eba~",
        ] {
            assert_eq!(Special::of(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn urls_lead_to_hosts() {
        for good in [
            "https://example.com/a.git",
            "http://a:b@example.com:80/x",
            "../a",
            "./a/../b",
            "git@example.com:a.git",
            "ssh://example.com/a",
            "/local",
            "https::https://example.com/",
            "https://[::1]/a",
            "https://example.com/a/../b?x=/../..",
        ] {
            assert!(is_good_url(good.into()), "{good}");
        }
        for bad in [
            "-u",
            "--upload-pack=x",
            "https://example.com/%0a",
            "../%0aa",
            "..//example.com",
            "../:x",
            "https:///x",
            "https://",
            "http::x",
            "https://example.com/%zz",
            "https://http::example.com/a",
            "https://example.com:0/",
            "https://example.com/../a",
            "https://example.com/a/%2e%2e/../b",
            "https://example.com:65536/",
            "https://exa mple.com/",
        ] {
            assert!(!is_good_url(bad.into()), "{bad}");
        }
    }

    #[test]
    fn modules_are_checked_even_where_they_are_not_in_order() {
        let good =
            "[submodule \"a/b\"]\n\tpath = a/b\n\turl = https://example.com/a\n\tupdate = rebase\n";
        modules(good.as_bytes()).unwrap();
        modules(b"[broken\n").unwrap();
        for bad in [
            "[submodule \"../x\"]\n\tpath = a\n",
            "[submodule \"a\"]\n\turl = -x\n",
            "[submodule \"a\"]\n\tURL = \"-x\"\n",
            "[submodule \"a\"]\n\tpath = -x\n",
            "[submodule \"a\"]\n\tupdate = !rm\n",
            "[submodule \"a\"]\n\tupdate = !rm\n[broken\n",
            "[submodule \"a\"] url = -x\n[broken\n",
            "[submodule \"a\"][submodule \"../x\"]\nu! = 1\n",
            "[submodule \"../x\"]\n\turl\n",
        ] {
            assert!(modules(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(attributes(&[b'x'; 2047]).is_ok());
        assert!(attributes(&[b'x'; 2048]).is_err());
    }
}
