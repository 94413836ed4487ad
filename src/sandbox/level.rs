//! How strong the sandbox is that a machine gives us.

use std::fmt;
use std::str::FromStr;

use super::user::has_own_user;

/// A level of isolation; the greater, the weaker, as in the documentation's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Namespaces, and each build is another user of the machine; made by root.
    Root = 1,
    /// Namespaces alone; builds are the server's own user outside.
    Namespaces = 2,
}

impl Level {
    /// What this process gives to builds.
    pub fn here() -> Self {
        if has_own_user() {
            Self::Root
        } else {
            Self::Namespaces
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "level 1 (root)",
            Self::Namespaces => "level 2 (user namespaces)",
        })
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "root" | "1" => Ok(Self::Root),
            "namespaces" | "2" => Ok(Self::Namespaces),
            _ => Err(()),
        }
    }
}
