//! What a browser shows where no dyno answers, and the code that the log has for it.

use hyper::StatusCode;

/// What went wrong. Codes, words and statuses are Heroku's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// H10
    Crashed,
    /// H12
    FirstByte,
    /// H13
    NoAnswer,
    /// H14
    NoWeb,
    /// H15
    Idle,
    /// H18
    Cut,
    /// H20
    Boot,
    /// H21
    Refused,
    /// H26
    TooLarge,
    /// H27
    ClientLeft,
    /// H28
    ClientIdle,
    /// H80
    Maintenance,
    /// H81
    Blank,
}

impl Fault {
    pub fn code(self) -> &'static str {
        match self {
            Self::Crashed => "H10",
            Self::FirstByte => "H12",
            Self::NoAnswer => "H13",
            Self::NoWeb => "H14",
            Self::Idle => "H15",
            Self::Cut => "H18",
            Self::Boot => "H20",
            Self::Refused => "H21",
            Self::TooLarge => "H26",
            Self::ClientLeft => "H27",
            Self::ClientIdle => "H28",
            Self::Maintenance => "H80",
            Self::Blank => "H81",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::Crashed => "App crashed",
            Self::FirstByte => "Request timeout",
            Self::NoAnswer => "Connection closed without response",
            Self::NoWeb => "No web processes running",
            Self::Idle => "Idle connection",
            Self::Cut => "Server Request Interrupted",
            Self::Boot => "App boot timeout",
            Self::Refused => "Backend connection refused",
            Self::TooLarge => "Request Error",
            Self::ClientLeft => "Client Request Interrupted",
            Self::ClientIdle => "Client Connection Idle",
            Self::Maintenance => "Maintenance mode",
            Self::Blank => "Blank app",
        }
    }

    /// What the client gets, and what the log says that it got.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Blank => StatusCode::BAD_GATEWAY,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientLeft | Self::ClientIdle => {
                StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
            }
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whose socket the log blames, for those codes that say it.
    pub fn socket(self) -> Option<&'static str> {
        match self {
            Self::ClientLeft => Some("client"),
            Self::Cut => Some("backend"),
            _ => None,
        }
    }

    /// How grave the log says it is.
    pub fn level(self) -> &'static str {
        match self {
            Self::Maintenance | Self::Blank => "info",
            Self::ClientLeft | Self::ClientIdle => "warning",
            _ => "error",
        }
    }

    pub fn page(self) -> String {
        match self {
            Self::Maintenance => page(
                "Offline for maintenance",
                "This app is being worked on. Try again later.",
            ),
            Self::Blank => page(
                "There is nothing here yet",
                "This app has no release so far. If it is yours, push its code: git push slugline main.",
            ),
            Self::TooLarge => page(
                "Request too large",
                "The request's body has more bytes than this server takes.",
            ),
            _ => page(
                "Application error",
                "An error occurred in the application, or it did not answer in time. If it is yours, its log tells more: slugline logs --tail.",
            ),
        }
    }
}

/// A page without any part from elsewhere.
pub(super) fn page(title: &str, text: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
<title>{title}</title>\n<style>body {{ font: 16px/1.5 sans-serif; max-width: 34em; margin: 20vh auto; padding: 0 1em }}</style>\n\
</head>\n<body>\n<h1>{title}</h1>\n<p>{text}</p>\n</body>\n</html>\n"
    )
}
