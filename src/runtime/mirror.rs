//! What is asked in the place of an address.

use std::str::FromStr;

/// `FROM=TO`: addresses that begin with the one begin with the other instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    from: String,
    to: String,
}

/// A text that is no mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a mirror is FROM=TO, both beginning with https://, http:// or file://")]
pub struct NoMirror;

impl Mirror {
    /// The address to ask for another one, if this mirror has it.
    pub(super) fn rewritten(&self, url: &str) -> Option<String> {
        let rest = url.strip_prefix(&self.from)?;
        Some(format!("{}{rest}", self.to))
    }
}

impl FromStr for Mirror {
    type Err = NoMirror;

    fn from_str(text: &str) -> Result<Self, NoMirror> {
        let is_url = |text: &str| {
            let schemes = ["https://", "http://", "file:///"];
            schemes.iter().any(|scheme| text.starts_with(scheme))
        };
        match text.split_once('=') {
            Some((from, to)) if is_url(from) && is_url(to) => Ok(Self {
                from: from.to_owned(),
                to: to.to_owned(),
            }),
            _ => Err(NoMirror),
        }
    }
}
