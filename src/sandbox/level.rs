//! How strong the sandbox is that a machine gives us.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::user::has_own_user;

/// A level of isolation; the greater, the weaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Namespaces, and each build is another user of the machine; made by root.
    Root,
    /// Namespaces alone; builds are the server's own user outside.
    Namespaces,
    /// Where namespaces are refused: Landlock and a narrower system call filter on the host's own
    /// root. Enough to look at an app, not to build it.
    Landlock,
    /// No isolation, because the operator has said so.
    Off,
}

impl Level {
    /// The number that the documentation knows it by; none is level 0.
    pub fn number(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Root => 1,
            Self::Namespaces => 2,
            Self::Landlock => 3,
        }
    }

    /// The level of this process where namespaces are allowed.
    pub(super) fn with_namespaces() -> Self {
        if has_own_user() {
            Self::Root
        } else {
            Self::Namespaces
        }
    }

    /// Whether commands have namespaces and a root directory of their own.
    pub(super) fn has_namespaces(self) -> bool {
        self <= Self::Namespaces
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Root => "root",
            Self::Namespaces => "user namespaces",
            Self::Landlock => "landlock, detection only",
            Self::Off => "none",
        };
        write!(f, "level {} ({name})", self.number())
    }
}

/// As `sandbox_require` names them.
impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "root" | "1" => Ok(Self::Root),
            "namespaces" | "2" => Ok(Self::Namespaces),
            "landlock" | "3" => Ok(Self::Landlock),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_the_weakest_whatever_its_number() {
        let levels = [Level::Root, Level::Namespaces, Level::Landlock, Level::Off];
        assert!(levels.is_sorted());
        assert_eq!(levels.map(Level::number), [1, 2, 3, 0]);
        assert_eq!("3".parse(), Ok(Level::Landlock));
        assert_eq!("none".parse::<Level>(), Err(()));
    }
}
